"""The `weir` command and its settings."""
