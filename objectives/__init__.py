"""What can be measured of a network: costs on a target, scores on a task, and how to train it.

Imports torch, never `search` or `spaces`.
"""
