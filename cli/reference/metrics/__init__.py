"""Metrics: their table, and the page that is made of it."""

from cli.reference.metrics.page import page

__all__ = ["page"]
