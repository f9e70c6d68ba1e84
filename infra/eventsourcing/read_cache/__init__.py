"""The cached read path.

``Reads`` is what an API process opens: it serves documents from this process, from Redis or from Postgres.
``Refresher`` is what a consumer's process opens: it brings changed documents to Redis and announces them.
Neither ever lets an older document take the place of a newer one.
"""

from infra.eventsourcing.read_cache.cache_writer import Refresher
from infra.eventsourcing.read_cache.document import Document
from infra.eventsourcing.read_cache.document_cache import Documents
from infra.eventsourcing.read_cache.metrics import ReadMetrics
from infra.eventsourcing.read_cache.read_replica import ReadReplica
from infra.eventsourcing.read_cache.read_side import Reads
from infra.redis.resilient_connection import CacheAway

__all__ = ["CacheAway", "Document", "Documents", "ReadMetrics", "ReadReplica", "Reads", "Refresher"]
