"""Catalogue, orders, payments, imports."""
