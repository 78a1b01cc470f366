"""What deserves to be trained, and for how long: pure functions, one idea a module."""
