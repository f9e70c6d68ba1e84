"""The record: one row per bar, and ``results.md`` with everything needed to judge the figures."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from benchmarks.figures import Figures
from benchmarks.measure import Bar, Result
from benchmarks.options import NOTES, Options

_INTRODUCTION = """\
# Results of `make bench`

Every row was taken in one run on the same PostgreSQL and Valkey, both sides in turn (A B A B …), each lap in
processes of its own. A figure is the median of {rounds} rounds; a ratio is the median of the quotients of neighbouring
laps, with the lowest and the highest beside it. Load generator, server, PostgreSQL and Valkey share the machine's
cores, for both sides alike: ratios travel to other machines, absolute figures do not.
"""

_TERMS = """\
## What is compared

- **Appends**: one `order.placed` of two lines (about 700 bytes of JSON) in a new stream per append, durable when
  counted. `eventsourcing` runs one thread and one pooled connection per writer, as its documentation shows; its
  optional database functions are shown as well, without a bar, because with them it takes no table lock and no longer
  promises that a reader sees no gaps. Plain asyncpg inserts the same columns with positions from a sequence, and
  promises neither order nor expected versions.
- **Commands**: `ChangeStock` through the command handler: decide, append. One product, or one for each writer.
- **Orders**: two of 1,000 products per order, 64 keep-alive connections, one server process on either side, no workers
  running. Weir checks a bearer token and an idempotency key and reserves stock; the tutorial does none of these, and
  takes prices from memory. Both log and count every request.
- **Sale**: one product. Two API processes, 100 pieces, 500 connections: nearly all are refused, and each refusal is
  confirmed by the log; each lap is checked to have sold exactly 100. One process, a million pieces, 64 connections.
  And `ReserveStock` through the command handler, without HTTP; `eventsourcing` keeps the aggregate in its cache and
  tries again after a lost race, with many threads and with one that never loses any. The tutorial takes the stock by a
  conditional UPDATE; its row lock is what its clients queue for.
- **Products**: 1,000 products in turn. The tutorial reads Redis, parses, validates and serialises; both log and
  count every request.
- **Relay**: from the log to Redis streams, capped alike.
- **Replay**: `order_summary` from the log into a new table; `eventsourcing` keeps a view of the same orders.
- **Visible**: every process of `weir up` runs; from the arrival of a 201 until a GET with its `Consistency-Token` has
  been answered 200 with the order. 200 orders a second are sent on schedule, whether or not earlier ones are answered.
- **Idle sockets**: 2,000 sockets of 105 accounts in one room at one API process that has just started; its resident
  memory before and after, when 100 have come already.
- **Room**: one API process, a relay, no other workers. 50 messages a second are posted on schedule, 500 sockets of one
  process of the bench hear them; each is checked to have each message once and in order. Those who never read have come
  for the whole past, so that all buffers on the way to them are full.
- **Feed**: the same with 200 event streams of the log, while the bench's own process has 500 commands a second stored;
  from the time in the event, which is just before its commit.
- The load generator costs {client:.0f} µs of CPU per request against a server that parses nothing
  ({client_rate:,.0f} requests/s).
"""


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Measure, Weir, against, ratio, bar, verdict: one row per bar, as text."""
    return [_row(result, bar) for result in results for bar in result.measure.bars]


def write(options: Options, facts: Mapping[str, str], results: Sequence[Result], generator: Figures) -> str:
    """The whole of ``results.md``."""
    now = datetime.now(UTC)
    taken = f"Taken on {now:%Y-%m-%d at %H:%M} UTC, laps of {options.seconds:g} s, {options.events:,} events.\n"
    machine = "".join(f"- {name}: {fact}\n" for name, fact in facts.items())
    head = ("measure", "Weir", "against", "ratio", "bar", "verdict")
    return "\n".join(
        (
            _INTRODUCTION.format(rounds=options.rounds),
            taken,
            _table(head, rows(results)),
            "## Machine and versions\n",
            machine,
            _TERMS.format(client=generator.client_us, client_rate=generator.rate),
            NOTES.read_text(),
            "## Every lap\n",
            _table(("measure", "side", "figure", "p50 ms", "p95 ms", "p99 ms", "max ms"), _laps(results)),
        )
    )


def _row(result: Result, bar: Bar) -> tuple[str, ...]:
    return (
        bar.what,
        _ours(result, bar),
        _against(result, bar),
        _ratio(result, bar),
        _limits(bar),
        _verdict(result, bar),
    )


def _against(result: Result, bar: Bar) -> str:
    if bar.against is None:
        return "–"
    if bar.p99_ratio is not None:
        return f"{bar.against}: p99 {result.p99_ms(bar.against):.1f} ms"
    return f"{bar.against}: {result.rate(bar.against):,.0f} {result.measure.unit}"


def _ours(result: Result, bar: Bar) -> str:
    latency = ""
    if bar.p50_ms or bar.p99_ms or bar.p99_ratio:
        latency = f", p50 {result.p50_ms(bar.ours):.1f} ms, p99 {result.p99_ms(bar.ours):.1f} ms"
    return f"{result.rate(bar.ours):,.0f} {result.measure.unit}{latency}"


def _ratio(result: Result, bar: Bar) -> str:
    ratios = result.ratios(bar)
    if not ratios:
        return "–"
    return f"{result.ratio(bar):.2f} × ({min(ratios):.2f}–{max(ratios):.2f})"


def _limits(bar: Bar) -> str:
    limits = (
        (bar.ratio, "≥ {:g} ×"),
        (bar.least, "≥ {:,.0f}/s"),
        (bar.p50_ms, "p50 ≤ {:g} ms"),
        (bar.p99_ms, "p99 ≤ {:g} ms"),
        (bar.most, "≤ {:g}"),
        (bar.p99_ratio, "p99 ≤ {:g} ×"),
    )
    return ", ".join(words.format(limit) for limit, words in limits if limit is not None) or "–"


def _verdict(result: Result, bar: Bar) -> str:
    if _limits(bar) == "–":
        return "–"
    missed = result.missed(bar)
    return f"MISSED ({', '.join(missed)})" if missed else "PASS"


def _laps(results: Sequence[Result]) -> list[tuple[str, ...]]:
    return [
        (result.measure.name, side, f"{each.rate:,.0f}", *_latencies(each))
        for result in results
        for side, laps in result.sides.items()
        for each in laps
    ]


def _latencies(figures: Figures) -> tuple[str, ...]:
    values = (figures.p50_ms, figures.p95_ms, figures.p99_ms, figures.max_ms)
    return tuple(f"{value:.2f}" if value else "–" for value in values)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    marks = ("---",) * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, marks, *lines))
