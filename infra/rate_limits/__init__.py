"""Rates by the generic cell rate algorithm, counted in the process and in Redis."""
