"""Postgres: connections, the pool, the schema, its errors and its clock."""
