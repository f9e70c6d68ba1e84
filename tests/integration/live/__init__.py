"""Rooms, sockets, event streams and webhooks."""
