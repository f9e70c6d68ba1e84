"""Where bytes are kept that are too many for a row: one port, over a local folder or an S3-compatible bucket."""

from infra.storage.bucket import Bucket
from infra.storage.folder import Folder
from infra.storage.opening import open_storage
from infra.storage.port import LARGEST, Blob, Storage, Stored

__all__ = ["LARGEST", "Blob", "Bucket", "Folder", "Storage", "Stored", "open_storage"]
