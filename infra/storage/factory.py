"""The storage that a process uses, by its settings."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from obstore.store import S3Store

from infra.settings import Settings
from infra.storage.local_disk import Folder
from infra.storage.s3 import Bucket
from infra.storage.storage import Storage
from infra.storage.streaming import READ_SECONDS

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config


def open_storage(settings: Settings) -> Storage:
    """The storage that ``WEIR_STORAGE_URL`` names, ``file:///folder`` or ``s3://bucket/prefix``; else a folder in the
    data directory. Nothing is made or asked yet.
    """
    if settings.storage_url is None:
        return Folder(settings.data_dir.absolute() / "storage")
    url = urlsplit(settings.storage_url)
    if url.scheme == "file":
        return Folder(Path(unquote(url.path)))
    return Bucket(_s3(url.netloc, url.path.strip("/"), settings))


def _s3(bucket: str, prefix: str, settings: Settings) -> S3Store:
    """What is not set here, obstore takes from ``AWS_*``, or from the role of the machine or container."""
    # Deleting in bulk is an extension that some S3-compatible services do without.
    config: S3Config = {"bucket": bucket, "disable_bulk_delete": True}
    if settings.storage_endpoint is not None:
        config["endpoint"] = settings.storage_endpoint
    if settings.storage_access_key_id is not None and settings.storage_secret_access_key is not None:
        config["access_key_id"] = settings.storage_access_key_id.get_secret_value()
        config["secret_access_key"] = settings.storage_secret_access_key.get_secret_value()
    client: ClientConfig = {
        "allow_http": (settings.storage_endpoint or "").startswith("http://"),
        "connect_timeout": timedelta(seconds=2),
        "read_timeout": timedelta(seconds=READ_SECONDS),
        "timeout": timedelta(seconds=120),
    }
    retries: RetryConfig = {
        "max_retries": 2,
        "retry_timeout": timedelta(seconds=READ_SECONDS),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
    }
    return S3Store(prefix=prefix or None, config=config, client_options=client, retry_config=retries)
