"""The page at ``/live`` in a real browser: people talk through two API processes, and an order moves."""

import secrets
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import orjson
import pytest
from playwright.async_api import Browser, Page, WebSocketRoute, expect

from cli.supervisor import Backoff, Options, Program, Stack, Wiring
from cli.supervisor.programs import weir_programs
from infra.embedded import free_port
from infra.payments.webhook_signature import sign
from tests.support.browser import Window, chromium, needs_chromium, window

needs_chromium()

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"
SECOND = "api-2"
QUICK = Backoff(first=0.1, most=1.0, calm=60)
NARROW = 375
MARKUP = '<img src="x" onerror="document.title = \'taken\'">'
UNREACHABLE = ("net::ERR_CONNECTION_REFUSED", "net::ERR_CONNECTION_RESET", "net::ERR_EMPTY_RESPONSE", "net::ERR_SOCKET")


class Shop:
    """A running stack with two API processes, its first admin, and a browser."""

    def __init__(self, stack: Stack, second: str, http: httpx2.AsyncClient, browser: Browser) -> None:
        self.stack = stack
        self.doors = (stack.api_url, second)
        self.http = http
        self.browser = browser

    @asynccontextmanager
    async def entered(self, name: str, door: int = 0, room: str = "") -> AsyncIterator[Window]:
        """A window in which somebody has signed in, by the link of a room, if one is named."""
        async with window(self.browser) as shown:
            await shown.page.goto(f"{self.doors[door]}/live#{room}")
            await sign_in(shown.page, name)
            await expect(shown.page.locator("#who")).to_have_text(name)
            yield shown

    async def registered(self) -> str:
        """The name of a new account."""
        name = f"ada{secrets.token_hex(4)}"
        body = {"email": f"{name}@example.org", "username": name, "password": PASSWORD}
        await self.ask("POST", "/v1/accounts", {}, body)
        return name

    async def signed_in(self, name: str, password: str = PASSWORD) -> dict[str, str]:
        answer = await self.http.post(
            "/v1/auth/token", data={"grant_type": "password", "username": name, "password": password}
        )
        return {"authorization": f"Bearer {answer.json()['access_token']}"}

    async def admin(self) -> dict[str, str]:
        told = self.stack.environment
        return await self.signed_in(told["WEIR_ADMIN_EMAIL"], told["WEIR_ADMIN_PASSWORD"])

    async def ask(self, method: str, path: str, who: dict[str, str], body: Any = None) -> Any:
        answer = await self.http.request(method, path, headers=who, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def pay(self, order: dict[str, Any]) -> None:
        """As the payment provider tells it."""
        payment = {"order_id": order["id"], "payment_id": order["id"], "amount": order["total"], "status": "succeeded"}
        body = orjson.dumps(payment)
        signed = sign(self.stack.environment["WEIR_PAYMENT_WEBHOOK_SECRET"], body)
        headers = {"content-type": "application/json", **signed}
        assert (await self.http.post("/v1/webhooks/payments", content=body, headers=headers)).is_success


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """Shared: what it costs is its start."""
    port = free_port()
    second = f"http://127.0.0.1:{port}"

    def programs(wiring: Wiring) -> Sequence[Program]:
        mine = weir_programs(wiring)
        (api,) = [program for program in mine if program.name == "api"]
        told = {**api.env, "WEIR_PORT": str(port)}
        return (*mine, replace(api, name=SECOND, env=told, ready_url=f"{second}/health/ready"))

    options = Options(
        directory=tmp_path_factory.mktemp("live") / ".weir",
        programs=programs,
        durable=False,
        backoff=QUICK,
        ready_seconds=240,
    )
    async with AsyncExitStack() as opened:
        stack = await opened.enter_async_context(Stack(options))
        http = await opened.enter_async_context(httpx2.AsyncClient(base_url=stack.api_url, timeout=30))
        yield Shop(stack, second, http, await opened.enter_async_context(chromium()))


async def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    form = page.locator("#sign-in")
    await form.get_by_label("Email or username").fill(name)
    await form.get_by_label("Password").fill(password)
    await form.get_by_role("button", name="Sign in").click()


async def open_room(page: Page, name: str) -> None:
    await page.get_by_text("Open a room").click()
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_role("button", name="Open the room").click()
    await is_live(page)


async def join_room(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name).click()
    await page.get_by_role("button", name="Join the room").click()
    await is_live(page)


async def say(page: Page, *texts: str) -> None:
    for text in texts:
        await page.get_by_label("Message", exact=True).fill(text)
        await page.get_by_label("Message", exact=True).press("Enter")


async def is_live(page: Page) -> None:
    await expect(page.locator("#state")).to_have_text("Live")


async def hears(page: Page, texts: Sequence[str]) -> None:
    """All that is said there, each line once, in this order, and nothing is on its way any more."""
    await expect(page.locator("#lines .text")).to_have_text(list(texts))
    await expect(page.locator("#pending li")).to_have_count(0)


async def history(shop: Shop, name: str, room: str) -> list[str]:
    """What the API says was said."""
    who = await shop.signed_in(name)
    rooms = await shop.ask("GET", "/v1/rooms?mine=member", who)
    (room_id,) = [each["id"] for each in rooms["items"] if each["name"] == room]
    told = await shop.ask("GET", f"/v1/rooms/{room_id}/messages?sort=oldest&limit=100", who)
    return [message["text"] for message in told["items"]]


async def test_two_who_talk_through_two_processes_hear_every_line_once_whichever_is_killed(shop: Shop) -> None:
    ada, bob = await shop.registered(), await shop.registered()
    room = f"Tea for {ada}"
    async with shop.entered(ada, 0) as here, shop.entered(bob, 1) as there:
        await open_room(here.page, room)
        await join_room(there.page, room)
        said = []
        for number in range(3):
            for shown, name in ((here, "Ada"), (there, "Bob")):
                await say(shown.page, f"{name} says {number}")
                said.append(f"{name} says {number}")
                await hears(here.page, said)
                await hears(there.page, said)
        on_its_way = there.page.locator("#pending [data-state=sending] .text")
        await shop.stack.kill(SECOND, signal.SIGSTOP)  # the next line is sent, and nobody takes it
        await say(there.page, "Bob says 3")
        await expect(on_its_way).to_have_text(["Bob says 3"])
        async with shop.stack.down(SECOND):
            await expect(there.page.locator("#state")).not_to_have_text("Live")
            await say(there.page, "Bob says 4")
            await expect(on_its_way).to_have_text(["Bob says 3", "Bob says 4"])
            await say(here.page, "Ada says 3", "Ada says 4", MARKUP)
            await hears(here.page, said := [*said, "Ada says 3", "Ada says 4", MARKUP])
        said += ["Bob says 3", "Bob says 4"]
        await hears(there.page, said)
        await hears(here.page, said)
        await is_live(there.page)
        assert await history(shop, ada, room) == said
        for shown in (here, there):
            assert await shown.page.locator("#talk img").count() == 0
            assert await shown.page.title() == "Weir live"
        assert here.complaints == []
        # A browser says by itself that a server cannot be reached. The page and its policy have nothing to complain of.
        assert [line for line in there.complaints if not any(word in line for word in UNREACHABLE)] == []
        assert there.complaints != []


async def test_an_order_that_is_placed_through_the_api_appears_and_moves_as_it_is_paid_and_sent(shop: Shop) -> None:
    ada, staff = await shop.registered(), await shop.admin()
    kettle = {"sku": ada, "name": "Kettle", "price": {"amount": "19.90", "currency": "EUR"}, "stock": 5}
    product = await shop.ask("POST", "/v1/products", staff, kettle)
    async with shop.entered(ada) as shown:
        await expect(shown.page.locator("#no-orders")).to_be_visible()
        bought = {"items": [{"product_id": product["id"], "quantity": 2}]}
        placed = await shop.ask("POST", "/v1/orders", await shop.signed_in(ada), bought)
        order = shown.page.locator(f"[data-order='{placed['id']}']")
        await expect(order).to_contain_text("2 × Kettle")
        await expect(order).to_have_attribute("data-status", "pending")
        await shop.pay(placed)
        await expect(shown.page.locator("#order-news")).to_have_text(f"Order {placed['order_no']} is paid.")
        await expect(order.locator(".status")).to_have_text("paid")
        await shop.ask("POST", f"/v1/orders/{placed['id']}/ship", staff, {"carrier": "DHL", "tracking_no": "1"})
        await expect(shown.page.locator("#order-news")).to_have_text(f"Order {placed['order_no']} is shipped.")
        await expect(order.locator("[data-reached=true]")).to_have_count(3)
        assert shown.complaints == []


async def test_a_link_leads_into_a_room_and_what_was_said_long_ago_comes_as_one_looks_back(shop: Shop) -> None:
    ada = await shop.registered()
    who = await shop.signed_in(ada)
    room = await shop.ask("POST", "/v1/rooms", who, {"name": f"Old {ada}"})
    said = [f"Line {number}" for number in range(75)]
    for text in said:
        await shop.ask("POST", f"/v1/rooms/{room['id']}/messages", who, {"text": text})
    async with shop.entered(ada, room=room["id"]) as shown:
        await hears(shown.page, said[25:])
        await expect(shown.page.get_by_text("Line 74")).to_be_in_viewport()
        await shown.page.locator("#scroll").focus()
        await shown.page.keyboard.press("Home")
        await hears(shown.page, said)
        assert shown.complaints == []


async def test_a_line_whose_answer_is_lost_goes_out_again_under_its_name_and_is_there_once(shop: Shop) -> None:
    ada = await shop.registered()
    lost: list[str | bytes] = []

    async def lossy(line: WebSocketRoute) -> None:
        server = line.connect_to_server()

        async def answered(frame: str | bytes) -> None:
            if not lost and orjson.loads(frame)["type"] in ("ack", "message"):
                lost.append(frame)
                await line.close(code=1012)
            else:
                line.send(frame)

        server.on_message(answered)

    async with window(shop.browser) as shown:
        await shown.page.route_web_socket("**/live", lossy)
        await shown.page.goto(f"{shop.doors[0]}/live")
        await sign_in(shown.page, ada)
        await open_room(shown.page, f"Lossy {ada}")
        await say(shown.page, "once", "and the next")
        await hears(shown.page, ["once", "and the next"])
        assert lost != []
        assert await history(shop, ada, f"Lossy {ada}") == ["once", "and the next"]
        assert shown.complaints == []


async def test_a_message_that_is_refused_says_so_and_holds_up_no_other(shop: Shop) -> None:
    ada = await shop.registered()
    async with shop.entered(ada) as shown:
        await open_room(shown.page, f"Odd {ada}")
        for refused in (
            "bell \x07",
            "nothing \x00",
        ):  # the rules refuse the one, and the frame is malformed with the other
            await say(shown.page, refused, "and the next")
            alarm = shown.page.locator("#pending").get_by_role("alert")
            await expect(alarm).to_contain_text("Not sent.")
            await shown.page.get_by_role("button", name="Discard").click()
        await hears(shown.page, ["and the next", "and the next"])
        assert shown.complaints == []


async def test_a_refused_sign_in_is_told_in_words_and_a_session_that_ends_leads_back_there(shop: Shop) -> None:
    ada = await shop.registered()
    async with window(shop.browser) as shown:
        await shown.page.goto(f"{shop.doors[0]}/live")
        await sign_in(shown.page, ada, "not the password")
        await expect(shown.page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
        await sign_in(shown.page, ada)
        await open_room(shown.page, f"Last {ada}")
        who = await shop.signed_in(ada)
        sessions = (await shop.ask("GET", "/v1/me/sessions", who))["items"]
        (theirs,) = [session["id"] for session in sessions if not session["current"]]
        await shop.ask("DELETE", f"/v1/me/sessions/{theirs}", who)
        await expect(shown.page.get_by_role("alert")).to_have_text("Your session has ended. Please sign in again.")
        await expect(shown.page.get_by_role("button", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("width", [NARROW, 1280])
async def test_nothing_is_wider_than_the_screen_and_all_is_done_with_the_keyboard(shop: Shop, width: int) -> None:
    ada = await shop.registered()
    async with window(shop.browser, width=width) as shown:
        page, press = shown.page, shown.page.keyboard.press
        await page.goto(f"{shop.doors[0]}/live")
        for typed in (ada, PASSWORD):
            await page.keyboard.type(typed)
            await press("Tab")
        await press("Enter")
        await expect(page.get_by_role("heading", name="Rooms")).to_be_focused()
        await page.get_by_text("Open a room").focus()
        await press("Enter")
        await press("Tab")
        await page.keyboard.type("W" * 100)
        await press("Enter")
        await is_live(page)
        await page.get_by_label("Message", exact=True).focus()
        await page.keyboard.type("w" * 300)
        await press("Enter")
        await hears(page, ["w" * 300])
        for view in ("rooms", "talk", "orders"):
            if width == NARROW:
                await page.locator(f"#views [data-view={view}]").focus()
                await press("Enter")
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.complaints == []
