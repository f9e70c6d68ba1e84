"""Process managers: their rows and timers, moved by the log; their effects are written by who opens them."""
