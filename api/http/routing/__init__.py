"""Endpoints compiled: what FastAPI has read from a signature, made into a plan that serves every request."""
