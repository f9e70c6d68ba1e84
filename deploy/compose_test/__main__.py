"""``make compose-test``: images, the whole stack, a day in it with a fault and a new release, and all away again."""

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Mapping
from typing import Final

from deploy.compose_test import report
from deploy.compose_test.commands import ROOT, WORK, found_tools, run
from deploy.compose_test.containers_conf import in_force
from deploy.compose_test.day import Crowd, Deployed, crowd, one_customer
from deploy.compose_test.edge import check_doors, rules, targets_up
from deploy.compose_test.images import forget_images, make_images, make_weir
from deploy.compose_test.report import Failed, note, say, stage
from deploy.compose_test.stack import SHOP, URL, Stack, names

PAGE: Final = ROOT / "docs/compose-test.txt"
ROLLED: Final = ("api-1", "api-2", "relay", "projections", "tasks")
"""What is replaced for a new release, one service after the other, once the schema is there."""


def main() -> int:
    """0 if all was as it should be."""
    parser = argparse.ArgumentParser(prog="compose-test", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the stack up at the end")
    parser.add_argument("--forget", action="store_true", help="only remove the images that were made, and the stack")
    asked = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    os.environ["CONTAINERS_CONF"] = str(in_force(WORK))
    stack = Stack()
    try:
        found_tools()
        stack.install_compose()
        stack.take_down()  # what a run has left that was ended in the middle
        if asked.forget:
            forget_images()
            return 0
        asyncio.run(_day(stack))
    except Failed as failure:
        say(f"\nFAILED: {failure}")
        return 1
    finally:
        if not asked.keep:
            stack.take_down()
    if asked.keep:
        note(f"kept: {URL}, {SHOP.relative_to(ROOT)}")
        return 0
    stage("Taken down")
    note(f"containers, networks and volumes left: {stack.left()}")
    say("\nAll of it as it should be.")
    PAGE.write_text("\n".join(report.LINES) + "\n")
    return 0


async def _day(stack: Stack) -> None:
    stage("Images (kept from one run to the next)")
    make_images(stack.services)
    stage("An empty folder, one command for the secrets, one to start")
    told = stack.deploy()
    stack.start()
    address = stack.address("postgres", "back")
    shop = Deployed(
        environment=told,
        direct_url=f"postgresql://weir:{told['POSTGRES_PASSWORD']}@{address}:5432/weir",
        mail=stack.mail,
        certificate=SHOP / "deploy/tls/fullchain.pem",
    )
    stage("One customer, through nginx over TLS")
    order = await one_customer(shop)
    stage("From outside")
    check_doors(shop.certificate)
    stage("Prometheus")
    await _all_are_watched({"api": 2, "relay": 2, "projections": 1, "tasks": 1})
    note(f"rules: {rules()}")
    async with crowd(shop) as people:
        people.also(order)
        stage("Three projections workers, and one is killed")
        await _one_of_three_is_killed(stack, people)
        stage("A new release, process by process")
        await _new_release(stack, people)


async def _all_are_watched(expected: Mapping[str, int]) -> None:
    """Waits until Prometheus reaches them all: it asks for names every ten seconds."""
    for _ in range(90):
        try:
            targets = targets_up()
        except Failed as failure:
            last = str(failure)
        else:
            if expected.items() <= targets.items():
                note(f"reached: {', '.join(f'{job} ×{number}' for job, number in sorted(targets.items()))}")
                return
            last = f"only {dict(targets)}"
        await asyncio.sleep(1)
    raise Failed(f"Prometheus: {last}")


async def _one_of_three_is_killed(stack: Stack, people: Crowd) -> None:
    stack.compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "projections=3", "projections")
    stack.wait_for("projections")
    await _all_are_watched({"projections": 3})
    workers = stack.containers("projections")
    note(f"up: {names(workers)}")
    async with people.shopping() as counting:
        pid = int(run("podman", "inspect", "--format", "{{.State.Pid}}", workers[0]))
        os.kill(pid, signal.SIGKILL)
        note(f"killed with SIGKILL: {names(workers[:1])}")
        began = time.monotonic()
        await asyncio.to_thread(stack.wait_for, "projections")
        note(f"restarted by its policy and well again after {time.monotonic() - began:.1f} s")
    note(str(counting))
    note(await people.books_are_right())


async def _new_release(stack: Stack, people: Crowd) -> None:
    make_weir("localhost/weir:2", version="2")
    with (SHOP / ".env").open("a") as told:
        told.write("VERSION_TAG=2\n")
    async with people.shopping() as counting:
        await asyncio.to_thread(stack.replace, "migrate")
        for service in ROLLED:
            before = counting.lost.total()
            seconds = await asyncio.to_thread(stack.replace, service)
            note(f"{service}: replaced in {seconds:.1f} s, {counting.lost.total() - before} requests lost")
    note(str(counting))
    if counting.lost:
        lost = f"requests were lost while the release was rolled: {dict(counting.lost)}"
        raise Failed(f"{lost}\n{stack.lost()}")
    note(f"images that run: {', '.join(sorted({stack.image(service) for service in ROLLED}))}")
    note(await people.books_are_right())


if __name__ == "__main__":
    raise SystemExit(main())
