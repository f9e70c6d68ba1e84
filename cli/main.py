"""The ``weir`` command: a table of its commands, each loaded only when it is the one that was asked for."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from typing import NamedTuple

import typer

from infra.concurrency.gc_tuning import loading
from infra.host.entry_point import entry_point


class Entry(NamedTuple):
    """A command or group: the module whose ``register(app)`` adds it, and its line in the help."""

    module: str
    help: str


COMMANDS = {
    "up": Entry("cli.up", "Start everything on this machine, until Ctrl-C."),
    "demo": Entry("cli.demo", "Start everything and run the main job before your eyes."),
    "status": Entry("cli.status", "Show processes, ports, lag, parked streams and outboxes of the running stack."),
    "doctor": Entry("cli.doctor", "Look for what is wrong with servers, settings and work, and say the fix for each."),
    "env": Entry("cli.env", "Print the settings of the running stack for a shell, secrets included."),
    "psql": Entry("cli.psql", "Open PostgreSQL's shell on the database."),
    "serve": Entry("cli.serve", "Run the HTTP API."),
    "worker": Entry("cli.worker", "Run background workers: relay, projections, tasks, or all."),
    "migrate": Entry("cli.operations.migrate", "Bring the database's schema up to date."),
    "shards": Entry(
        "cli.operations.shards", "Show into how many shards the log is divided, or change that while all is stopped."
    ),
    "keys": Entry("cli.operations.keys", "List the keys that sign access tokens, rotate them, or wrap them anew."),
    "replay": Entry("cli.operations.replay", "Rebuild a read model from the log."),
    "backup": Entry("cli.backup.backup", "Copy the database and its files, as of one moment, into a folder."),
    "restore": Entry("cli.backup.restore", "Make a database of a backup, and check it before any process works on it."),
    "verify": Entry("cli.backup.verify", "Check a database and its files, as after a restore."),
    "parked": Entry("cli.operations.parked", "List, retry or skip streams that a poison event has parked."),
    "mail": Entry("cli.mail", "See mails as their readers will; list those that are owed, or have them tried again."),
    "pay": Entry("cli.pay", "Pay an order as the payment provider would, in development."),
    "refunds": Entry("cli.operations.refunds", "List money that is owed back, or have it asked for again."),
    "webhooks": Entry("cli.operations.webhooks", "List who is sent events and what became of each; send one again."),
    "provider": Entry("cli.provider", "Stand in for the payment provider: give money back, in a file."),
    "seed": Entry("cli.seed", "Make a shop to play with: products, customers, orders in every state."),
    "mailsink": Entry("cli.mailsink", "Take mail by SMTP, keep each message as a file, show them in a browser."),
    "openapi": Entry("cli.openapi", "Print the OpenAPI document."),
    "asyncapi": Entry("cli.asyncapi", "Print the AsyncAPI document: streams, rooms and webhooks."),
    "reference": Entry("cli.reference", "Print a page of the reference: of events, metrics or problem codes."),
    "release": Entry("cli.release", "Compare the API's documents with the last release's, or keep them."),
    "import": Entry("cli.importing", "Put the products of a CSV or NDJSON file on sale, and watch."),
    "settings": Entry("cli.settings", "Show the settings in effect, or all there are."),
    "bench": Entry("cli.bench", "Measure, side by side with others, on this machine."),
}


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application for one call: the command it names in full, the others by their line of help alone."""
    app = typer.Typer(name="weir", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_weir)
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, entry in COMMANDS.items():
        if find_spec(entry.module) is None:
            continue
        if name == asked:
            import_module(entry.module).register(app)
        else:
            app.command(name, help=entry.help)(_unloaded)
    return app


def main() -> None:
    """The console script."""
    _write_whatever_the_locale_says()
    with entry_point():
        with loading():
            app = build(_completed() or sys.argv[1:])
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as :mod:`cli.console` has left it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app()


def _write_whatever_the_locale_says() -> None:
    """What goes into a file or to another program is UTF-8 in every locale; a terminal has its own letters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=stream.encoding if stream.isatty() else "utf-8", errors="backslashreplace")


def _completed() -> Sequence[str]:
    """The words so far, where a shell asks how they may go on: bash has its own name for them."""
    words = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    return words.split()[1:] if "_WEIR_COMPLETE" in os.environ else ()


def _weir() -> None:
    """An event-driven shop backend: nothing lost, nothing doubled, every read model rebuilt while it serves."""


def _unloaded() -> None:
    raise RuntimeError("this command is named in the help only")


if __name__ == "__main__":
    main()
