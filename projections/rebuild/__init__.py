"""Rebuilding a read model while it serves: a new generation beside the live one, and one transaction that switches.

::

    begin ─▶ build, each shard by itself: read the log, fold in memory, COPY ─▶ index ─▶ catch up ─▶ switch
                                                                                      as a consumer, one transaction

Whatever stops it on the way, readers notice nothing: they are served by the generation that the pointer names.
"""

from projections.rebuild.building import build
from projections.rebuild.generation import Building, Busy, begin
from projections.rebuild.switching import Switched, announce, finish

__all__ = ["Building", "Busy", "Switched", "announce", "begin", "build", "finish"]
