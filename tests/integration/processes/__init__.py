"""Processes: how they start, end, log, and find their servers."""
