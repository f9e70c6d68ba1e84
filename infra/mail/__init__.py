"""Mail as the machine sees it: the outbox table and SMTP."""
