"""Reading webhooks of one's own, and what was sent to them."""
