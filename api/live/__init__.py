"""Rooms over WebSocket: what is said comes as it is stored, from any place on; what is said here is stored first."""
