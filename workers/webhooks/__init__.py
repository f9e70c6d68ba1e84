"""Webhooks to subscribers: from an event to rows that are owed, and from these to their addresses."""
