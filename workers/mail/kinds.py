"""The names of mails."""

from typing import Final

KINDS: Final = (
    "order_confirmation",
    "payment_reminder",
    "payment_received",
    "shipping_notice",
    "order_cancelled",
    "payment_returned",
    "verify_email",
    "password_reset",
    "password_changed",
)
"""Every kind of mail."""
