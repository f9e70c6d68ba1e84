"""The names of all keys and channels of one log in Redis."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class Keyspace:
    """The names that one log uses in Redis. Another log in the same server has others.

    What tells of events has names by the log's ``history``: a restored copy, or what went on after a failover, has
    others again. What does not (the doorbell, rates) has them by its ``log_id``.
    """

    prefix: str

    @classmethod
    def of(cls, log: UUID) -> "Keyspace":
        """The names for a log, by its history or its id."""
        return cls(prefix=f"weir:{log.hex[:8]}:")

    def events(self, shard: int) -> str:
        """The stream of a shard: entry ``<position>-0`` for each of its events."""
        return f"{self.prefix}events:{{{shard}}}"

    @property
    def histories(self) -> str:
        """The set of the prefixes that this log's histories have had: their streams have no end of their own."""
        return f"{self.prefix}histories"

    @property
    def doorbell(self) -> str:
        """The channel that is rung after an append."""
        return f"{self.prefix}doorbell"

    @property
    def access(self) -> str:
        """The channel that is rung after an append that ends somebody's access."""
        return f"{self.prefix}access"

    @property
    def log(self) -> str:
        """The channel that tells how far the log has come."""
        return f"{self.prefix}log"

    def stream(self, stream_id: UUID | str) -> str:
        """The channel that tells how far a stream has come, where its category can be followed."""
        return f"{self.prefix}stream:{stream_id}"

    @property
    def followers(self) -> str:
        """The channel that a process hears which follows nothing now. Nobody rings it."""
        return f"{self.prefix}followers"

    @property
    def applied(self) -> str:
        """The channel that tells how far consumers have come, after the cache was refreshed."""
        return f"{self.prefix}applied"

    def present(self, place: UUID) -> str:
        """The set of those who are at a place, by when that runs out."""
        return f"{self.prefix}present:{{{place}}}"

    def jobs(self, kind: str) -> str:
        """arq's queue of a kind of worker: each knows its own jobs alone."""
        return f"{self.prefix}jobs:{kind}"
