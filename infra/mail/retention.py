"""Retention of the mail ledger: what was sent or refused is forgotten after a while, what is owed never.

By then nothing can owe such a mail once more: the place of the reactions in the log is moved in the transaction that
writes mails down. What was given up stays as well: that is for an operator to see.
"""

from typing import Final

from infra.postgres.retention import Retention
from infra.postgres.tables.outboxes import mail_is_settled, mail_ledger

OLD: Final = Retention(table=mail_ledger, since=mail_ledger.c.due_at, over=mail_is_settled)
"""Such a mail is due no more, and its time is that of its outcome."""
