"""The HTTP framework: bytes, bodies, headers, limits, FastAPI within the edge."""
