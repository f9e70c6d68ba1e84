"""Storage of bytes that are too many for a row: one port, over a local folder or an S3-compatible bucket."""

from infra.storage.factory import open_storage
from infra.storage.local_disk import Folder
from infra.storage.s3 import Bucket
from infra.storage.storage import LARGEST, Blob, Storage, Stored

__all__ = ["LARGEST", "Blob", "Bucket", "Folder", "Storage", "Stored", "open_storage"]
