"""The main job through the public API, with every process running; and a rebuild in the middle of it."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest
from weir_client.api.webhooks import list_webhooks
from weir_client.models import WebhookCardPage

from cli.demo import shop_of
from cli.demo.calls import Clients, told
from cli.demo.journey import Journey
from cli.demo.subscriber import subscribed
from cli.demo.visit import Failed, seen
from cli.supervisor import Options, Stack
from cli.supervisor.programs import Program, Wiring, weir_programs
from cli.up import places
from projections.registry import PROJECTIONS
from tests.faults import audit
from tests.faults.ground import OWN, Ground
from tests.faults.test_kills import a_shop, settled
from tests.support.page_runs import run_beside, run_page
from tests.support.pages import blocks_of, pages
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

REBUILT = ("order_summary", "product_card")


def talkative(wiring: Wiring) -> Sequence[Program]:
    """The processes of ``weir up``; those that say nothing of what goes well say it here."""
    return [replace(each, env={**each.env, "WEIR_LOG_LEVEL": "debug"}) for each in weir_programs(wiring)]


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """What ``weir up`` runs, in the folder where it keeps things by default. Shared: what it costs is its start."""
    folder = tmp_path_factory.mktemp("shop") / ".weir"
    options = Options(directory=folder, durable=False, ready_seconds=240, programs=talkative)
    async with Stack(options) as running:
        yield running


@pytest.fixture
def ground() -> Ground:
    """What a system of its own stands on: `make grow` has others."""
    return OWN


async def test_three_orders_go_their_ways_through_every_process(stack: Stack) -> None:
    async with Clients(stack.api_url) as clients:
        titles = [step.title async for step in Journey(shop_of(stack), clients).steps()]
    assert titles.count("mail in the box") == 6
    assert [title for title in titles if title in ("chat line heard", "order moved", "webhook arrived")] == [
        *["chat line heard"] * 2,
        *["order moved"] * 4,
        *["webhook arrived"] * 3,
    ]
    assert seen(Counter(titles))
    assert titles[titles.index("dashboard exact") + 1 :] == [
        *("order.placed", "order.paid", "order.shipped", "order.completed"),
        *("order.placed", "order.cancelled", "order.overpaid", "order.money_returned"),
        *("order.placed", "order.paid", "order.refunded", "order.money_returned"),
    ]


async def test_a_demo_that_was_cut_short_leaves_no_webhook_behind_the_next_one(stack: Stack) -> None:
    shop = shop_of(stack)
    async with Clients(shop.api_url) as clients:
        admin = await clients.signed_in(shop.admin_email, shop.admin_password)

        async def webhooks() -> int:
            page = await told(WebhookCardPage, list_webhooks.asyncio_detailed(client=admin))
            return len(page.document.items)

        with pytest.raises(Failed):
            async with subscribed(admin):
                raise Failed("cut short")
        await eventually(lambda: are(webhooks, 1), 30)
        async with subscribed(admin):
            pass
        await eventually(lambda: are(webhooks, 0), 30)


async def test_one_request_is_found_by_its_id_in_the_log_of_every_process_and_in_its_mail(stack: Stack) -> None:
    asked = f"followed-{uuid4().hex}"
    eve = {"email": "eve@example.com", "username": "eve", "password": "a pot of tea at four"}
    async with httpx2.AsyncClient(base_url=stack.api_url, timeout=15) as http:
        answer = await http.post("/v1/accounts", json=eve, headers={"X-Request-ID": asked})
    assert (answer.status_code, answer.headers["x-request-id"]) == (201, asked)

    def lines(process: str) -> list[dict[str, Any]]:
        log = (stack.wiring.directory / "log" / f"{process}.log").read_bytes().splitlines()
        told = [json.loads(line) for line in log if asked.encode() in line]
        return [line for line in told if asked in (line.get("correlation_id"), *line.get("correlation_ids", ()))]

    async def is_everywhere() -> bool:
        projected = {line.get("consumer") for line in lines("projections")}
        mailed = [line["state"] for line in lines("tasks") if line["event"] == "mail"]
        return bool(lines("relay")) and "account_card" in projected and mailed == ["sent"]

    await eventually(is_everywhere, 60)
    (request,) = [line for line in lines("api") if line["event"] == "request"]
    assert (request["route"], request["status"], request["request_id"]) == ("/v1/accounts", 201, asked)
    (mail,) = [line for line in lines("tasks") if line["event"] == "mail"]
    assert mail["causation_id"] == f"event:{answer.json()['position']}"
    assert any(f"X-Request-ID: {asked}".encode() in each.read_bytes() for each in stack.mail_dir.rglob("*.eml"))
    everything = b"".join(log.read_bytes() for log in (stack.wiring.directory / "log").iterdir())
    assert b"eve@" not in everything


async def are(count: Callable[[], Awaitable[int]], number: int) -> bool:
    return await count() == number


async def test_an_erased_account_is_in_no_room_any_more_and_what_it_said_stays(stack: Stack) -> None:
    secrets = stack.environment
    async with httpx2.AsyncClient(base_url=stack.api_url, timeout=15) as http:
        ada = await signed_in(http, secrets["WEIR_ADMIN_EMAIL"], secrets["WEIR_ADMIN_PASSWORD"])
        bob = {"email": "bob@example.com", "username": "bob", "password": "a pot of tea at four"}
        assert (await http.post("/v1/accounts", json=bob)).status_code == 201
        him = await signed_in(http, bob["username"], bob["password"])
        room = (await http.post("/v1/rooms", json={"name": "Tea"}, headers=ada)).headers["location"]
        assert (await http.post(f"{room}/members", headers=him)).status_code == 200
        assert (await http.post(f"{room}/messages", json={"text": "Green."}, headers=him)).status_code == 201
        erased = await http.request("DELETE", "/v1/me", json={"password": bob["password"]}, headers=him)
        assert erased.status_code == 202

        async def alone() -> bool:
            members = (await http.get(f"{room}/members", headers=ada)).json()["items"]
            return [member["standing"] for member in members] == ["owner"]

        await eventually(alone, 60)
        said = (await http.get(f"{room}/messages", headers=ada)).json()["items"]
        assert [message["text"] for message in said] == ["Green."]


async def signed_in(http: httpx2.AsyncClient, username: str, password: str) -> Mapping[str, str]:
    form = {"grant_type": "password", "username": username, "password": password}
    answer = await http.post("/v1/auth/token", data=form)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def run(*command: str, at: Stack) -> str:
    """What a command prints that somebody gives beside the stack, who knows nothing of it. It must end well."""
    status, said, complaints = await run_beside(at.wiring.directory.parent, *command)
    assert status == 0, (said, complaints)
    return said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("keys", "list"), "yes"),
        (("mail", "list"), "no mail is owed"),
        (("refunds", "list"), "nothing is owed"),
        (("webhooks", "list"), "there is no webhook"),
        (("parked", "list"), "nothing is parked"),
        (("psql", "--no-psqlrc", "-Atc", "SELECT 'found ' || current_user"), "found weir"),
    ],
)
async def test_a_command_of_the_operator_finds_the_stack_of_the_folder(
    stack: Stack, command: Sequence[str], said: str
) -> None:
    assert said in await run("weir", *command, at=stack)


async def test_the_status_names_every_process_with_its_port_and_what_is_behind(stack: Stack) -> None:
    lines = dict(line.split(maxsplit=1) for line in (await run("weir", "status", at=stack)).splitlines())
    wiring = stack.wiring
    for name in ("postgres", "valkey", "mailsink", "provider", "api", *wiring.worker_ports):
        assert lines[name].startswith(f"ready, pid {stack.child(name).pid}, ")
    assert lines["api"].endswith(stack.api_url)
    assert lines["stack"] == str(wiring.directory)
    assert {"log", "lag", "parked", "mail", "refunds", "webhooks"} <= lines.keys()


async def test_every_address_that_is_printed_answers(stack: Stack) -> None:
    told = await places(stack)
    links = [place.partition(",")[0] for place in told.values() if place.startswith("http")]
    assert len(links) == 10
    async with httpx2.AsyncClient() as http:
        answers = {page: (await http.get(page)).status_code for page in links}
    assert {page: status for page, status in answers.items() if status >= 400 and page != stack.api_url} == {}
    assert told["admin"] == f"admin@weir.example, password in {stack.wiring.directory / 'secrets.json'}"


async def test_no_file_that_others_may_read_holds_a_secret(stack: Stack) -> None:
    """Nor do the files of the mailbox: who has the link in a mail has the account."""
    told = stack.wiring.told
    passwords = [urlsplit(told[url]).password or "" for url in ("DATABASE_URL", "REDIS_URL")]
    secrets = {*stack.wiring.secrets.values(), *passwords, (stack.wiring.directory / "mark").read_text(), "?token="}
    secrets -= {told["WEIR_ADMIN_EMAIL"]}
    files = [path for path in stack.wiring.directory.rglob("*") if path.is_file() and "postgres/data" not in str(path)]
    private = {path for path in files if path.stat().st_mode & 0o077 == 0}
    assert {"secrets.json", "mark", "stack.json", "password"} <= {path.name for path in private}
    assert any(path.suffix == ".eml" for path in private)
    for path in {*files} - private:
        content = path.read_bytes()
        assert [secret for secret in secrets if secret.encode() in content] == [], path


@pytest.fixture(scope="module")
async def readme(stack: Stack) -> Mapping[str, str]:
    """What the commands of README say, by their block. Ada, whom they make, is there from then on."""
    return await run_page("README.md", stack.wiring.directory.parent)


async def test_a_first_order_goes_through_by_the_commands_of_the_readme_as_they_stand(
    readme: Mapping[str, str],
) -> None:
    blocks = {block.place: block.text for block in blocks_of("README.md") if block.is_run}
    (first_order,) = [place for place, text in blocks.items() if "v1/accounts" in text]
    (by_client,) = [place for place, text in blocks.items() if "weir_client" in text]
    assert "Copper kettle 39.90 EUR\n" in readme[by_client]
    registered, verified, found, placed, *_, order, history = documents(readme[first_order])
    assert verified == {"id": registered["id"], "version": 2, "position": verified["position"]}
    assert "Copper kettle" in [product["name"] for product in found["items"]]
    assert (order["id"], order["total"]) == (placed["id"], {"amount": "79.80", "currency": "EUR"})
    assert [happening["type"] for happening in history["items"]] == ["order.placed", "order.paid"]


@pytest.mark.parametrize(
    "page", [page for page in pages() if page != "README.md" and any(block.is_run for block in blocks_of(page))]
)
@pytest.mark.usefixtures("readme")
async def test_the_commands_of_a_page_do_what_it_says(stack: Stack, page: str) -> None:
    await run_page(page, stack.wiring.directory.parent)


def documents(said: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in it, whatever is said between them."""
    decoder, end = json.JSONDecoder(), 0
    while (begin := said.find('{"', end)) >= 0:
        document, end = decoder.raw_decode(said, begin)
        yield document


async def test_a_read_model_is_rebuilt_while_customers_order_and_read(tmp_path: Path, ground: Ground) -> None:
    async with a_shop(tmp_path, customers=3, ground=ground) as (stack, shoppers):
        shopping = asyncio.create_task(shoppers.shop())
        elsewhere = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        for projection in REBUILT:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cli.main", "replay", projection, "--data-dir", str(tmp_path)), env=elsewhere
            )
            assert await asyncio.wait_for(process.wait(), 60) == 0
            paid = await shoppers.order_and_pay()
            assert (await shoppers.read_back(paid))["status"] == "paid"
        shoppers.stop()
        await shopping
        assert await settled(stack, shoppers) == []
        async with connected(stack.direct_url) as connection:
            served = await connection.fetch("SELECT name, live_generation FROM projections")
            assert {tuple(row) for row in served} == {(name, 2 if name in REBUILT else 1) for name in PROJECTIONS}
            for order, document in (await audit.documents(connection, "order_summary")).items():
                assert await shoppers.document(f"/v1/orders/{order}") == document
