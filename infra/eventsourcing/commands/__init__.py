"""Commands: load, decide, append, retry."""
