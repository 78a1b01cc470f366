"""Where a network's computation goes: what is analyzed, what is found, and how it is told."""
