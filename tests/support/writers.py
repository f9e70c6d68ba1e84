"""Loads for the write side, each in a process of its own: ``python -m tests.support.writers LOAD URL OPTIONS``.

A process opens its write side, says that it is ready, waits for a word, does its load and prints what came of it.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from domain.accounts import ACCOUNTS, RegisterAccount
from domain.inventory import INVENTORY, ChangeStock
from domain.kernel.refusals import Refusal
from domain.kernel.unit_of_work import StreamRef, UnitOfWork
from domain.orders import ORDERS, PlaceOrder
from domain.workflows.checkout import stock_moves
from infra.errors import TooBusy
from infra.eventsourcing.store import Appended, StreamAppend
from tests.support.builders import order_line
from tests.support.write_side import WriteSide, context, events, request, write_side

Load = Callable[..., Awaitable[Any]]
ROOT = Path(__file__).parents[2]


async def append(side: WriteSide, *, writers: int, each: int) -> int:
    """Writers, each with streams of its own, two of them per request. Answers how many events were stored."""

    async def write() -> int:
        streams, stored = (uuid4(), uuid4()), 0
        for version in range(each):
            parts = [StreamAppend(stream, "thing", 0, version, events(1)) for stream in streams]
            stored += 2 * isinstance(await side.appender.append(request(*parts)), Appended)
        return stored

    return sum(await asyncio.gather(*[write() for _ in range(writers)]))


async def move_stock(side: WriteSide, *, product: str, writers: int, each: int) -> list[int]:
    """Writers on one stream, each taking a random walk that ends above zero. Answers the changes that were stored."""
    product_id = UUID(product)
    changes: list[int] = []

    async def write(number: int) -> None:
        for step in range(each):
            change = number + 1 if step % 2 == 0 else -number
            command = ChangeStock(product_id=product_id, change=change or 1, reason="count")
            try:
                await side.commands.handle((INVENTORY, product_id), command, context())
            except TooBusy:
                continue
            changes.append(command.change)

    await asyncio.gather(*[write(number) for number in range(writers)])
    return changes


async def place_order(side: WriteSide, product_id: UUID, quantity: int, key: str | None = None) -> UUID:
    """One order over one line, and its stock. Raises what the rules raise."""
    order_id = uuid4()

    def decide(work: UnitOfWork) -> None:
        command = PlaceOrder(
            order_id=order_id,
            order_no=f"W-{order_id}",
            customer_id=order_id,
            lines=(order_line(product_id=product_id, quantity=quantity),),
            expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        )
        (placed,) = work.execute(ORDERS, order_id, command)
        for move in stock_moves(placed):
            work.execute(INVENTORY, move.product_id, move)

    targets: list[StreamRef] = [(ORDERS, order_id), (INVENTORY, product_id)]
    return (await side.commands.run(targets, decide, context(key), new=1)).id


async def order(side: WriteSide, *, product: str, clients: int, quantity: int) -> dict[str, int]:
    """Clients that all want the same product at once. Answers how many got it, and why the others did not."""

    async def buy() -> str:
        try:
            await place_order(side, UUID(product), quantity)
        except (Refusal, TooBusy) as refusal:
            return type(refusal).__name__
        return "placed"

    return Counter(await asyncio.gather(*[buy() for _ in range(clients)]))


async def register_account(side: WriteSide, email: str, username: str) -> UUID:
    """One new account. Raises what the rules raise."""
    account_id = uuid4()
    command = RegisterAccount(account_id=account_id, email=email, username=username)

    def decide(work: UnitOfWork) -> None:
        work.execute(ACCOUNTS, account_id, command)

    return (await side.commands.run([(ACCOUNTS, account_id)], decide, context(), new=1)).id


async def register(side: WriteSide, *, email: str, people: int) -> dict[str, int]:
    """People who all want the same address. Answers how many got it, and why the others did not."""

    async def one() -> str:
        try:
            await register_account(side, email, f"u{uuid4().hex}")
        except Refusal as refusal:
            return type(refusal).__name__
        return "registered"

    return Counter(await asyncio.gather(*[one() for _ in range(people)]))


LOADS: dict[str, Load] = {"append": append, "move_stock": move_stock, "order": order, "register": register}


async def in_processes(url: str, load: str, options: Sequence[dict[str, Any]], *, seconds: float = 60) -> list[Any]:
    """The load in as many processes as there are options; they begin together. Answers what each of them says."""
    running = [await _start(url, load, each) for each in options]
    try:
        async with asyncio.timeout(seconds):
            for process in running:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"ready\n"
            answers = await asyncio.gather(*[process.communicate(b"go\n") for process in running])
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return [json.loads(out) for out, _ in answers]


async def _start(url: str, load: str, options: dict[str, Any]) -> Process:
    argv = (sys.executable, "-m", "tests.support.writers", load, url, json.dumps(options))
    return await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE, cwd=ROOT)


async def main(load: str, url: str, options: str) -> None:
    async with write_side(url) as side:
        await side.appender.append(request())  # opens the connection
        _say("ready")
        sys.stdin.readline()
        _say(json.dumps(await LOADS[load](side, **json.loads(options))))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
