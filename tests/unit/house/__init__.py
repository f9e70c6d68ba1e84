"""The tree itself: what imports what, and how large it may grow."""
