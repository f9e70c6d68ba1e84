"""Process managers: their rows and timers, moved by the log."""
