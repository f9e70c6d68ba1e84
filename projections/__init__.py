"""The read models, one file each, and their table."""
