"""Webhooks to subscribers: their secrets, and the outbox of what is sent to them."""
