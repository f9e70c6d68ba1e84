"""The schema, and connections to Postgres."""
