"""Files behind the port: the same over a folder and over a bucket, whole or not at all, and never for ever."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import pytest

from infra.errors import TooLarge, Unavailable
from infra.settings import Settings
from infra.storage import Blob, Bucket, Folder, Storage, open_storage
from infra.storage.local_disk import DRAFTS, LEFTOVER_SECONDS
from infra.storage.streaming import answered
from tests.support.s3_stand_in import ACCESS_KEY, SECRET_KEY, S3StandIn, s3_settings
from tests.support.serving import serving

pytestmark = pytest.mark.anyio

KEY = "images/0192/3f2a.png"
MIB = 1024 * 1024


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken() -> AsyncIterator[bytes]:
    for _ in range(200):
        yield b"x" * 65_536
    raise ConnectionResetError("the client is gone")


async def read(blob: Blob | None) -> bytes:
    assert blob is not None
    content = b"".join([chunk async for chunk in blob.chunks])
    assert len(content) == blob.size
    return content


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
async def s3() -> AsyncIterator[tuple[S3StandIn, Bucket]]:
    stand_in = S3StandIn()
    async with serving(stand_in) as port:
        yield stand_in, bucket(port)


def bucket(port: int, secret: str = SECRET_KEY) -> Bucket:
    storage = open_storage(Settings.model_validate(s3_settings(port, secret)))
    assert isinstance(storage, Bucket)
    return storage


@pytest.fixture(params=["folder", "bucket"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with AsyncExitStack() as stack:
        if request.param == "folder":
            yield Folder(tmp_path)
        else:
            yield bucket(await stack.enter_async_context(serving(S3StandIn())))


@pytest.mark.parametrize("size", [0, 1, 5 * MIB - 1, 5 * MIB, 12 * MIB])
async def test_what_is_put_is_there(storage: Storage, size: int) -> None:
    content = os.urandom(size)
    parts = [content[at : at + 65_536] for at in range(0, size, 65_536)]
    stored = await storage.put(KEY, chunks(*parts), content_type="image/png")
    assert (stored.size, stored.digest) == (size, sha256(content).hexdigest())
    found = await storage.open(KEY)
    assert found is not None
    assert found.content_type == "image/png"
    assert found.etag
    assert await read(found) == content


async def test_a_file_is_read_from_where_one_wants_to_begin(storage: Storage) -> None:
    content = os.urandom(MIB)
    await storage.put(KEY, chunks(content), content_type="image/png")
    found = await storage.open(KEY, start=MIB - 5)
    assert found is not None
    assert found.size == MIB
    assert b"".join([chunk async for chunk in found.chunks]) == content[-5:]


async def test_what_is_not_there_is_none_and_can_be_deleted(storage: Storage) -> None:
    assert await storage.open(KEY) is None
    await storage.delete(KEY)
    await storage.put(KEY, chunks(b"here"), content_type="image/png")
    await storage.delete(KEY)
    assert await storage.open(KEY) is None


async def test_a_file_is_replaced_as_a_whole(storage: Storage) -> None:
    await storage.put(KEY, chunks(b"old"), content_type="image/png")
    before = await storage.open(KEY)
    await storage.put(KEY, chunks(b"new", b"er"), content_type="image/png")
    after = await storage.open(KEY)
    assert await read(after) == b"newer"
    assert before is not None
    assert after is not None
    assert before.etag != after.etag


async def test_too_much_is_refused_and_leaves_what_was_there(storage: Storage) -> None:
    await storage.put(KEY, chunks(b"old"), content_type="image/png", limit=3)
    with pytest.raises(TooLarge):
        await storage.put(KEY, chunks(*[b"x" * 65_536] * 200), content_type="image/png", limit=12 * MIB)
    assert await read(await storage.open(KEY)) == b"old"


async def test_an_upload_that_breaks_off_leaves_what_was_there(storage: Storage) -> None:
    await storage.put(KEY, chunks(b"old"), content_type="image/png")
    with pytest.raises(ConnectionResetError):
        await storage.put(KEY, broken(), content_type="image/png")
    assert await read(await storage.open(KEY)) == b"old"


async def test_no_wait_is_for_ever() -> None:
    with pytest.raises(Unavailable, match="storage: TimeoutError"):
        await answered(0.01, asyncio.Event().wait())


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".drafts/x", "A", "a b", "a\0b", "a\n", "ä", "a/" * 9]
)
async def test_what_is_no_key_is_not_looked_for(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="not the key"):
        await storage.put(key, chunks(b"x"), content_type="image/png")
    with pytest.raises(ValueError, match="not the key"):
        await storage.open(key)
    with pytest.raises(ValueError, match="not the key"):
        await storage.delete(key)


# The folder


async def test_what_fails_leaves_no_draft(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with pytest.raises(TooLarge):
        await folder.put(KEY, chunks(b"xx"), content_type="image/png", limit=1)
    with pytest.raises(ConnectionResetError):
        await folder.put(KEY, broken(), content_type="image/png")
    assert below(tmp_path) == []


WRITE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from infra.storage import Folder

async def parts():
    while True:
        yield b"x" * 65_536
        print("more", flush=True)

asyncio.run(Folder(Path(sys.argv[1])).put("a/b.png", parts(), content_type="image/png", limit=10**9))
"""


async def test_a_kill_in_the_middle_leaves_no_half_file_and_its_draft_is_cleared_in_time(tmp_path: Path) -> None:
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path), stdout=PIPE)
    assert writer.stdout is not None
    for _ in range(5):
        await writer.stdout.readline()
    writer.kill()
    await writer.communicate()
    (draft,) = below(tmp_path)
    assert draft.startswith(DRAFTS)
    assert await Folder(tmp_path).open("a/b.png") is None
    await Folder(tmp_path).put("a/c.png", chunks(b"x"), content_type="image/png")
    assert below(tmp_path) == [draft, "a/c.png"]  # it might be somebody's who is still writing
    long_ago = (tmp_path / draft).stat().st_mtime - LEFTOVER_SECONDS
    os.utime(tmp_path / draft, (long_ago, long_ago))
    await Folder(tmp_path).put("a/c.png", chunks(b"x"), content_type="image/png")
    assert below(tmp_path) == ["a/c.png"]


async def test_a_disk_that_does_not_take_it_is_the_storage_being_away(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "images").write_text("where a folder should be")
    with pytest.raises(Unavailable):
        await folder.put(KEY, chunks(b"x"), content_type="image/png")
    assert below(tmp_path) == ["images"]


async def test_without_a_setting_files_lie_with_the_data(tmp_path: Path) -> None:
    for told, place in (
        ({"data_dir": tmp_path / "data"}, tmp_path / "data" / "storage"),
        ({"storage_url": f"file://{tmp_path}/else%20where"}, tmp_path / "else where"),
    ):
        storage = open_storage(Settings.model_validate(told))
        await storage.put(KEY, chunks(b"x"), content_type="image/png")
        assert (place / KEY).read_bytes() == b"x"


@pytest.mark.parametrize("url", ["http://here/there", "s3:///prefix", "file://host/folder", "folder", "gs://bucket"])
def test_a_storage_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be file:///folder or s3://bucket/prefix"):
        Settings.model_validate({"storage_url": url})


def test_secrets_hide_themselves() -> None:
    settings = Settings.model_validate({"storage_access_key_id": "AKIA1", "storage_secret_access_key": "hush"})
    assert "hush" not in repr(settings)
    assert "AKIA1" not in repr(settings)


# The bucket


async def test_a_long_file_goes_up_in_parts(s3: tuple[S3StandIn, Bucket]) -> None:
    stand_in, bucket = s3
    await bucket.put(KEY, chunks(*[b"x" * 65_536] * 200), content_type="text/csv")
    assert sum("partNumber" in seen for seen in stand_in.seen) == 3
    assert stand_in.things[f"files/{KEY}"].media == "text/csv"
    assert not stand_in.uploads


async def test_another_key_is_refused_and_its_name_is_not_told(s3: tuple[S3StandIn, Bucket]) -> None:
    stand_in, _ = s3
    async with serving(stand_in) as port:
        stranger = bucket(port, secret="another")
        with pytest.raises(Unavailable, match="SignatureDoesNotMatch") as refused:
            await stranger.put(KEY, chunks(b"x"), content_type="image/png")
        with pytest.raises(Unavailable):
            await stranger.open(KEY)
    assert ACCESS_KEY not in str(refused.value)
    assert not stand_in.things


@pytest.mark.parametrize("status", [403, 500, 503])
async def test_a_bucket_that_fails_is_away(s3: tuple[S3StandIn, Bucket], status: int) -> None:
    stand_in, bucket = s3
    stand_in.failing = status
    for failing in (bucket.put(KEY, chunks(b"x"), content_type="x"), bucket.open(KEY), bucket.delete(KEY)):
        with pytest.raises(Unavailable):
            await failing
    stand_in.failing = None
    await bucket.put(KEY, chunks(b"x"), content_type="x")


async def test_a_download_that_is_cut_off_is_never_taken_for_the_whole(s3: tuple[S3StandIn, Bucket]) -> None:
    stand_in, bucket = s3
    await bucket.put(KEY, chunks(b"x" * 100_000), content_type="image/png")
    stand_in.ends_at = 50_000
    found = await bucket.open(KEY)
    assert found is not None
    with pytest.raises(Unavailable):
        await read(found)


async def test_a_bucket_that_says_nothing_is_not_waited_for(s3: tuple[S3StandIn, Bucket]) -> None:
    stand_in, bucket = s3
    stand_in.stalled = True
    with pytest.raises(Unavailable):
        await bucket.open(KEY)


async def test_a_bucket_that_is_not_there_is_away() -> None:
    async with serving(S3StandIn()) as port:
        gone = bucket(port)
    with pytest.raises(Unavailable):
        await gone.put(KEY, chunks(b"x"), content_type="x")
