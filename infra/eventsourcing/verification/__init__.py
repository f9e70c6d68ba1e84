"""The verification of a log and of all that was made of it: what was promised is looked for in the rows themselves.

::

    numbers.py       positions, versions, and whatever names an event: by statements
    streams.py       each stream folded by its rules; unique keys and allowances against that
    read_models.py   each read model against a fold of the log, as far as its consumer has come

All of it reads one snapshot, and writes nothing: open a transaction of isolation ``repeatable_read`` around it. For a
copy that was restored it is the proof that it can be worked on.
"""

from infra.eventsourcing.verification.finding import MOST_TOLD, Checked
from infra.eventsourcing.verification.numbers import verify_numbers
from infra.eventsourcing.verification.read_models import verify_read_model
from infra.eventsourcing.verification.streams import verify_streams

__all__ = ["MOST_TOLD", "Checked", "verify_numbers", "verify_read_model", "verify_streams"]
