"""Unit tests do no input or output, so a law is tried on few examples here, and never fails for being slow."""

from hypothesis import settings

settings.register_profile("unit", max_examples=20, deadline=None, database=None)
settings.load_profile("unit")
