"""Backups: taken, restored, and any database with its files verified."""
