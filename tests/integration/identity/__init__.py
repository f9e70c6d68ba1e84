"""Accounts, sessions, keys, and what ends with them."""
