"""A connection: HTTP/1.1 within bounds, and what was said heard before it closes."""
