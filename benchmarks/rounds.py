"""Plays the measures: A B A B …, each lap after the other, nothing side by side."""

from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.measure import Lap, Measure, Result
from benchmarks.screen import Screen


async def play(measure: Measure, bench: Bench, screen: Screen) -> Result:
    """All rounds of one measure."""
    with screen.measure(measure.name):
        async with measure.open(bench) as sides:
            played: dict[str, list[Figures]] = {name: [] for name in sides}
            for number in range(bench.options.rounds):
                await _round(number, sides, played, measure, bench, screen)
    return Result(measure=measure, sides=played)


async def _round(
    number: int,
    sides: Mapping[str, Lap],
    played: dict[str, list[Figures]],
    measure: Measure,
    bench: Bench,
    screen: Screen,
) -> None:
    for name, lap in sides.items():
        screen.lap(measure.name, name, number + 1, bench.options.rounds)
        await bench.databases.checkpoint()
        figures = await lap(number)
        played[name].append(figures)
        screen.lapped(measure, name, number + 1, figures)
