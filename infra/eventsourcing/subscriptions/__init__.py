"""Subscriptions: one stream, or the whole log, followed by any number of readers in a process, from any place on.

Postgres is the truth. What the relay rings for is only a hint to look there, and where no ring arrives it is looked
all the same. So each follower gets every event once and in order, whatever is lost or comes twice on the way.
"""

from infra.eventsourcing.subscriptions.followed_event import FollowedEvent
from infra.eventsourcing.subscriptions.log_reads import EVERYTHING, Wanted
from infra.eventsourcing.subscriptions.subscription import Ended, Reason, Subscription
from infra.eventsourcing.subscriptions.subscriptions import Subscriptions

__all__ = ["EVERYTHING", "Ended", "FollowedEvent", "Reason", "Subscription", "Subscriptions", "Wanted"]
