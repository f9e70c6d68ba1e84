"""Pictures of products: kept before they are shown, shown to everybody, and gone when nobody refers to them."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest

from api.images import picture_of
from domain.accounts import Role
from domain.catalogue import LARGEST_IMAGE, Image
from infra.eventsourcing.projections.generations import install
from infra.postgres.pool import connect
from infra.settings import Settings
from infra.storage import open_storage
from infra.storage.product_images import ImageFiles
from projections.product_card import image_file
from projections.registry import PROJECTIONS
from tests.attacks.house import working
from tests.support.current_log import LOG
from tests.support.pictures import chunk, jpeg, opened, png, segment, webp
from tests.support.s3_stand_in import S3StandIn, s3_settings
from tests.support.serving import connected, serving
from tests.support.shop import Client, Shop, shop
from workers.upkeep.images import is_shown

pytestmark = pytest.mark.anyio

RED, BLUE = png(2, 2, shade=40), png(2, 2, shade=200)
RED_KEPT, BLUE_KEPT = picture_of(RED).content, picture_of(BLUE).content


@pytest.fixture
async def told(settings: Settings) -> AsyncIterator[Settings]:
    session = await connect(settings.database_url)
    await install(session, PROJECTIONS)
    await session.close()
    told = settings.model_copy(update={"log_level": "error", "rate_limits": "off"})
    async with working(told):
        yield told


@pytest.fixture
async def open_shop(told: Settings) -> AsyncIterator[Shop]:
    async with shop(told) as opened:
        yield opened


@pytest.fixture
async def staff(open_shop: Shop) -> Client:
    return await open_shop.client(Role.STAFF)


@pytest.fixture
async def path(open_shop: Shop) -> str:
    return f"/v1/products/{await open_shop.product()}"


async def put(staff: Client, path: str, content: bytes, media: str = "image/png", **headers: str) -> httpx2.Response:
    named = {"content-type": media, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await staff.http.put(f"{path}/image", content=content, headers={**staff.headers, **named})


def after(answer: httpx2.Response) -> dict[str, str]:
    """What a read needs, to be from after this write."""
    assert answer.status_code == 200, answer.text
    return {"Consistency-Token": answer.headers["consistency-token"], "Prefer": "wait=10"}


async def shown(open_shop: Shop, path: str, written: httpx2.Response) -> str:
    """The picture that the product document leads to."""
    url: str = (await open_shop.http.get(path, headers=after(written))).json()["image_url"]
    return url


def kept(told: Settings) -> list[str]:
    """The files that there are."""
    folder = Path(told.data_dir) / "storage"
    return sorted(each.name for each in folder.rglob("*") if each.is_file())


async def sweep(open_shop: Shop, told: Settings, *, hours: int = 2) -> int:
    """What a sweep deletes when so much time has passed."""
    database = open_shop.database
    await database.execute("UPDATE image_files SET look_at = look_at - make_interval(hours => $1)", hours)
    return await ImageFiles(database, open_storage(told)).sweep(partial(is_shown, database, LOG))


def refused(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


# Showing


@pytest.mark.parametrize(
    ("sent", "media"),
    [
        (png(2, 2, chunk(b"tEXt", b"Author\x00somebody")), "image/png"),
        (jpeg(64, 48, segment(0xFE, b"somebody")), "image/jpeg"),
        (webp(9, 9), "image/webp"),
    ],
    ids=["png", "jpeg", "webp"],
)
async def test_a_picture_is_shown_as_it_was_written_anew(
    open_shop: Shop, staff: Client, path: str, sent: bytes, media: str
) -> None:
    written = await put(staff, path, sent, media)
    content = picture_of(sent).content
    assert opened(content).tobytes() == opened(sent).tobytes()
    assert (written.json()["version"], written.headers["etag"]) == (2, '"2"')
    digest = sha256(content).hexdigest()
    url = await shown(open_shop, path, written)
    assert url.startswith(f"{path}/image?v={digest}.")
    for where, caching in ((url, "public, max-age=31536000, immutable"), (f"{path}/image", "public, no-cache")):
        answer = await open_shop.http.get(where)
        assert (answer.status_code, answer.content) == (200, content)
        told = answer.headers
        assert (told["content-type"], told["content-length"]) == (media, str(len(content)))
        assert (told["etag"], told["cache-control"]) == (f'"{digest}"', caching)
        assert (told["x-content-type-options"], told["content-disposition"]) == ("nosniff", "inline")
        assert "sandbox" in told["content-security-policy"]
        same = await open_shop.http.get(where, headers={"If-None-Match": told["etag"]})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", told["etag"])
        head = await open_shop.http.head(where)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))


@pytest.mark.parametrize("media", ["image/webp", "image/jpg", "image/pjpeg", "image/x-png", "IMAGE/HEIC"])
async def test_its_bytes_say_what_it_is_and_not_its_sender(
    open_shop: Shop, staff: Client, path: str, media: str
) -> None:
    written = await put(staff, path, RED, media)
    answer = await open_shop.http.get(await shown(open_shop, path, written))
    assert answer.headers["content-type"] == "image/png"
    row = await open_shop.database.fetchrow("SELECT data FROM events WHERE type = 'product.image_changed'")
    assert row is not None
    image = orjson.loads(row["data"])["image"]
    assert image == {"digest": sha256(RED_KEPT).hexdigest(), "content_type": "image/png", "size": len(RED_KEPT)}


async def test_what_a_phone_put_behind_a_picture_is_not_kept(open_shop: Shop, staff: Client, path: str) -> None:
    written = await put(staff, path, jpeg() + jpeg(4, 4), "image/jpg")
    assert (await open_shop.http.get(await shown(open_shop, path, written))).content == picture_of(jpeg()).content


async def test_the_largest_picture_passes_whole(open_shop: Shop, staff: Client, path: str) -> None:
    filler = LARGEST_IMAGE - len(png(1, 1, chunk(b"teXt")))
    content = png(1, 1, chunk(b"teXt", b"." * filler))
    assert len(content) == LARGEST_IMAGE
    written = await put(staff, path, content)
    assert (await open_shop.http.get(await shown(open_shop, path, written))).content == picture_of(png()).content


async def test_a_product_without_a_picture_shows_none(open_shop: Shop, path: str) -> None:
    unknown = f"{'0' * 64}.png"
    for missing in (f"{path}/image", f"{path}/image?v={unknown}", f"/v1/products/{uuid4()}/image"):
        assert refused(await open_shop.http.get(missing)) == (404, "not-found")


async def test_a_picture_that_was_replaced_is_still_what_its_own_address_shows(
    open_shop: Shop, staff: Client, path: str
) -> None:
    old = await shown(open_shop, path, await put(staff, path, RED))
    new = await shown(open_shop, path, await put(staff, path, BLUE))
    tags = {url: (await open_shop.http.get(url)).headers["etag"] for url in (old, new)}
    assert len({old, new}) == len(set(tags.values())) == 2
    for url, other in ((old, new), (new, old)):
        for tag in (tags[url], f"W/{tags[url]}", f'"x", {tags[url]}', "*"):
            same = await open_shop.http.get(url, headers={"If-None-Match": tag})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tags[url]), (url, tag)
        assert (await open_shop.http.get(url, headers={"If-None-Match": tags[other]})).status_code == 200
    # Where no picture is named it is that of now.
    for tag, status in ((tags[new], 304), (tags[old], 200)):
        assert (await open_shop.http.get(f"{path}/image", headers={"If-None-Match": tag})).status_code == status


async def test_a_picture_is_not_shown_for_another_product(open_shop: Shop, staff: Client, path: str) -> None:
    url = await shown(open_shop, path, await put(staff, path, RED))
    other = f"/v1/products/{await open_shop.product()}"
    written = await put(staff, other, BLUE)
    assert (await shown(open_shop, other, written)) != url
    foreign = image_file(url)
    for condition in ({}, {"If-None-Match": f'"{foreign.partition(".")[0]}"'}, {"If-None-Match": "*"}):
        answer = await open_shop.http.get(f"{other}/image?v={foreign}", headers=condition)
        assert refused(answer) == (404, "not-found")


# Writing


async def test_the_same_key_tells_of_the_same_picture_only(open_shop: Shop, staff: Client, path: str) -> None:
    first = await put(staff, path, RED, idempotency_key="k-1")
    again = await put(staff, path, RED, idempotency_key="k-1")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    same_pixels = png(2, 2, chunk(b"tEXt", b"Author\x00another"), shade=40)
    for other in (BLUE, same_pixels):
        assert refused(await put(staff, path, other, idempotency_key="k-1")) == (422, "idempotency-key-reused")
    assert await shown(open_shop, path, first) == (await open_shop.http.get(path)).json()["image_url"]
    assert await count(open_shop) == 1


async def test_a_picture_is_changed_under_a_condition(open_shop: Shop, staff: Client, path: str) -> None:
    assert (await put(staff, path, RED, if_match='"1"')).status_code == 200
    assert refused(await put(staff, path, BLUE, if_match='"1"')) == (412, "version-mismatch")
    assert await count(open_shop) == 1


async def test_the_same_picture_again_changes_nothing(open_shop: Shop, staff: Client, path: str) -> None:
    first, again = await put(staff, path, RED), await put(staff, path, RED)
    noted = await put(staff, path, png(2, 2, chunk(b"tEXt", b"Author\x00another"), shade=40))
    assert first.json() == again.json() == noted.json()
    assert await count(open_shop) == 1


async def count(open_shop: Shop) -> int:
    """How often a picture was changed."""
    row = await open_shop.database.fetchrow("SELECT count(*) FROM events WHERE type = 'product.image_changed'")
    return row[0] if row else 0


async def test_a_discontinued_product_takes_no_picture_but_tells_what_became_of_an_earlier_one(
    open_shop: Shop, staff: Client, path: str, told: Settings
) -> None:
    first = await put(staff, path, RED, idempotency_key="k-1")
    await staff.send("DELETE", path)
    assert refused(await put(staff, path, BLUE)) == (409, "not-for-sale")
    assert kept(told) == [f"{sha256(RED_KEPT).hexdigest()}.png"]
    assert (await put(staff, path, RED, idempotency_key="k-1")).json() == first.json()
    assert (await open_shop.http.get(f"{path}/image", headers=after(first))).content == RED_KEPT


async def test_what_is_refused_leaves_nothing(open_shop: Shop, staff: Client, path: str, told: Settings) -> None:
    before = await open_shop.stored()
    too_large = png(1, 1, chunk(b"teXt", b"." * LARGEST_IMAGE))
    refusals: list[tuple[httpx2.Response, tuple[int, str]]] = [
        (await put(staff, path, b""), (415, "unsupported-media-type")),
        (await put(staff, path, b"<svg/>"), (415, "unsupported-media-type")),
        (await put(staff, path, b"<svg/>", "image/svg+xml"), (415, "unsupported-media-type")),
        (await put(staff, path, RED, "multipart/form-data"), (415, "unsupported-media-type")),
        (await put(staff, path, RED + b"<script>"), (422, "invalid-image")),
        (await put(staff, path, RED[:-1]), (422, "invalid-image")),
        (await put(staff, path, png(60_000, 60_000)), (422, "invalid-image")),
        (await put(staff, path, too_large), (413, "content-too-large")),
        (await put(staff, f"/v1/products/{uuid4()}", RED), (404, "not-found")),
        (await put(await open_shop.client(), path, RED), (403, "insufficient-scope")),
        (
            await open_shop.http.put(f"{path}/image", content=RED, headers={"content-type": "image/png"}),
            (401, "unauthenticated"),
        ),
    ]
    assert refusals[1][0].headers["accept"] == "image/jpeg, image/png, image/webp"
    assert [refused(answer) for answer, _ in refusals] == [expected for _, expected in refusals]
    assert await open_shop.stored() == before
    assert kept(told) == []


async def test_chunks_without_a_length_are_counted(staff: Client, path: str, told: Settings) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield RED
        for _ in range(200):
            yield b"." * 65_536

    headers = {**staff.headers, "content-type": "image/png"}
    answer = await staff.http.put(f"{path}/image", content=endless(), headers=headers)
    assert refused(answer) == (413, "content-too-large")
    assert kept(told) == []


async def test_nobody_sends_a_body_before_we_know_who_it_is(open_shop: Shop, path: str) -> None:
    """The head of a request is answered, though its five megabytes never come."""
    port = open_shop.http.base_url.port
    assert port is not None
    head = f"PUT {path}/image HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5000000\r\n"
    async with connected(port) as line:
        answer, _ = await line.ask(head.encode() + b"Expect: 100-continue\r\n\r\n")
    assert answer.startswith(b"http/1.1 401")


# Keeping and sweeping


async def test_a_picture_that_was_replaced_is_shown_until_it_is_swept(
    open_shop: Shop, staff: Client, path: str, told: Settings
) -> None:
    old = await shown(open_shop, path, await put(staff, path, RED))
    assert await sweep(open_shop, told) == 0  # it is the one that is shown
    new = await shown(open_shop, path, await put(staff, path, BLUE))
    assert await sweep(open_shop, told, hours=0) == 0  # its time has not come
    assert (await open_shop.http.get(old)).content == RED_KEPT
    assert await sweep(open_shop, told) == 1
    assert refused(await open_shop.http.get(old)) == (404, "not-found")
    assert (await open_shop.http.get(new)).content == BLUE_KEPT
    assert kept(told) == [image_file(new)]
    assert await sweep(open_shop, told, hours=9_999) == 0


async def test_what_a_refused_command_has_kept_is_swept(
    open_shop: Shop, staff: Client, path: str, told: Settings
) -> None:
    url = await shown(open_shop, path, await put(staff, path, RED))
    assert refused(await put(staff, path, BLUE, if_match='"9"')) == (412, "version-mismatch")
    assert refused(await put(staff, path, RED, if_match='"9"')) == (412, "version-mismatch")
    assert len(kept(told)) == 2
    assert await sweep(open_shop, told) == 1
    assert kept(told) == [image_file(url)]


async def test_what_a_dead_process_has_kept_is_swept(open_shop: Shop, path: str, told: Settings) -> None:
    """Between the bytes and the command; and before the bytes."""
    files, product_id = ImageFiles(open_shop.database, open_storage(told)), UUID(path.rpartition("/")[2])
    await files.keep(product_id, Image(digest="0" * 64, content_type="image/png", size=3), b"red")
    await open_shop.database.execute("INSERT INTO image_files VALUES ($1, $2, now())", product_id, f"{'1' * 64}.png")
    assert await sweep(open_shop, told, hours=0) == 1
    assert await sweep(open_shop, told) == 1
    assert kept(told) == []
    assert await open_shop.database.fetch("SELECT * FROM image_files") == []


async def test_a_picture_is_not_deleted_under_whoever_keeps_it_again(
    open_shop: Shop, staff: Client, path: str, told: Settings
) -> None:
    """The sweep has found that nobody shows it, when somebody comes who wants to."""
    await put(staff, path, RED)
    await put(staff, path, BLUE)
    found, go_on = asyncio.Event(), asyncio.Event()

    async def slow(product_id: UUID, file: str) -> bool:
        answer = await is_shown(open_shop.database, LOG, product_id, file)
        if not answer:
            found.set()
            await go_on.wait()
        return answer

    await open_shop.database.execute("UPDATE image_files SET look_at = now()")
    sweeping = asyncio.create_task(ImageFiles(open_shop.database, open_storage(told)).sweep(slow))
    await found.wait()
    putting = asyncio.create_task(put(staff, path, RED))
    await asyncio.wait([putting], timeout=0.3)
    assert not putting.done()
    go_on.set()
    await sweeping
    written = await putting
    assert (await open_shop.http.get(await shown(open_shop, path, written))).content == RED_KEPT


async def test_one_that_cannot_be_looked_at_does_not_keep_the_others(
    open_shop: Shop, staff: Client, path: str, told: Settings
) -> None:
    await put(staff, path, RED)
    await put(staff, path, BLUE)
    other = f"/v1/products/{await open_shop.product()}"
    await put(staff, other, RED)

    async def fails(product_id: UUID, file: str) -> bool:
        if str(product_id) in other:
            raise LookupError("an event of another release")
        return await is_shown(open_shop.database, LOG, product_id, file)

    await open_shop.database.execute("UPDATE image_files SET look_at = now() - interval '1 day'")
    assert await ImageFiles(open_shop.database, open_storage(told)).sweep(fails) == 1
    assert len(kept(told)) == 2


# The storage away


@pytest.fixture
async def s3() -> AsyncIterator[tuple[S3StandIn, dict[str, str]]]:
    stand_in = S3StandIn()
    async with serving(stand_in) as port:
        yield stand_in, s3_settings(port)


async def test_a_bucket_away_keeps_nobody_from_anything_else(
    told: Settings, s3: tuple[S3StandIn, dict[str, str]]
) -> None:
    stand_in, where = s3
    there = Settings.model_validate({**told.model_dump(), **where})
    async with shop(there) as open_shop:
        staff = await open_shop.client(Role.STAFF)
        path = f"/v1/products/{await open_shop.product()}"
        url = await shown(open_shop, path, await put(staff, path, RED))
        assert (await open_shop.http.get(url)).content == RED_KEPT
        stand_in.failing = 503
        before = await open_shop.stored()
        for answer in (await put(staff, path, BLUE), await open_shop.http.get(url)):
            assert refused(answer) == (503, "unavailable")
            assert answer.headers["retry-after"] == "1"
        assert await open_shop.stored() == before
        assert (await open_shop.http.get(path)).status_code == 200
        health = (await open_shop.http.get("/health")).json()
        assert health["status"] == "degraded"
        stand_in.failing = None
        written = await put(staff, path, BLUE)
        assert (await open_shop.http.get(await shown(open_shop, path, written))).content == BLUE_KEPT
        stand_in.failing = 500
        assert len(stand_in.things) == 2
        with pytest.raises(Exception, match="storage"):
            await sweep(open_shop, there)
        stand_in.failing = None
        assert await sweep(open_shop, there, hours=0) == 1
        assert len(stand_in.things) == 1
