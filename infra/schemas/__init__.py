"""Schemas of what comes in as JSON, CSV or a parameter: forms, strict JSON, errors by pointer."""
