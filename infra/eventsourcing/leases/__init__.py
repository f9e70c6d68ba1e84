"""Leases among processes that may stop at any moment, in Postgres, by its clock, fenced by epochs.

``Leader`` is for what one process does at a time. ``Membership`` spreads the checkpoints of consumers over those that
live. In both the epoch grows with every new owner, and what a former owner still writes under its old epoch is refused.
"""

from infra.eventsourcing.leases.balancing import WHOLE, Place, Plan, plan
from infra.eventsourcing.leases.leader import Leader
from infra.eventsourcing.leases.membership import Claim, Grant, Lag, Membership, Standing, anybody, lag_of

__all__ = [
    "WHOLE",
    "Claim",
    "Grant",
    "Lag",
    "Leader",
    "Membership",
    "Place",
    "Plan",
    "Standing",
    "anybody",
    "lag_of",
    "plan",
]
