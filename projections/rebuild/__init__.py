"""Rebuilding a read model while it serves: a new generation beside the live one, and one transaction that switches.

::

    begin ─▶ build, share by share: read the log, fold, COPY ─▶ index ─▶ catch up ─▶ switch
                                                                        as a consumer, one transaction

Long ones are asked for in rows (``wishes``), and fulfilled by a worker, or by whoever asks (``fulfilling``).
Whatever stops it on the way, readers notice nothing: they are served by the generation that the pointer names.
"""

from projections.rebuild.building import build
from projections.rebuild.generation import Building, Busy, begin
from projections.rebuild.renewal import renew
from projections.rebuild.shares import Share, shares
from projections.rebuild.switching import Switched, announce, finish

__all__ = ["Building", "Busy", "Share", "Switched", "announce", "begin", "build", "finish", "renew", "shares"]
