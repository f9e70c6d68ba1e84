"""Webhooks of one's own: registered, changed, given another secret, deleted; what was sent is sent again."""
