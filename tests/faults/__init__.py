"""Things are killed here, on purpose."""
