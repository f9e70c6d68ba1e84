"""The cached read path.

``Reads`` is what an API process opens: it serves documents from this process, from Redis or from Postgres.
``Refresher`` is what a consumer's process opens: it brings changed documents to Redis and announces them.
Neither ever lets an older document take the place of a newer one.
"""

from infra.cache.documents import Documents
from infra.cache.frames import Document
from infra.cache.link import CacheAway
from infra.cache.metrics import ReadMetrics
from infra.cache.reads import Reads
from infra.cache.refresher import Refresher

__all__ = ["CacheAway", "Document", "Documents", "ReadMetrics", "Reads", "Refresher"]
