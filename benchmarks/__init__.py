"""Claims as programs: each prints median and spread, side by side, and says on what machine."""
