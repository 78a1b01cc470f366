"""What can be decided, and how a decision becomes a network.

Imports torch, never `search` or `objectives`.
"""
