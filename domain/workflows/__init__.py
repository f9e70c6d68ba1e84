"""Decisions over several streams: the only place where contexts meet."""
