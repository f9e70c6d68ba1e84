"""Identity: credentials, sessions, tokens, keys and links, and what has ended before its time."""
