"""Rebuilding a read model while it serves: a new generation beside the live one, and one transaction that switches.

::

    begin ─▶ build, share by share: read the log, fold, COPY ─▶ index ─▶ catch up ─▶ switch
                                                                        as a consumer, one transaction

Long ones are asked for in rows (``wishes``), and fulfilled by a worker, or by whoever asks (``fulfilling``).
Whatever stops it on the way, readers notice nothing: they are served by the generation that the pointer names.
"""

from infra.eventsourcing.projections.rebuild.builder import build
from infra.eventsourcing.projections.rebuild.new_generation import Building, Busy, begin
from infra.eventsourcing.projections.rebuild.partitions import Share, shares
from infra.eventsourcing.projections.rebuild.switchover import Switched, announce, finish
from infra.eventsourcing.projections.rebuild.upgrade import renew

__all__ = ["Building", "Busy", "Share", "Switched", "announce", "begin", "build", "finish", "renew", "shares"]
