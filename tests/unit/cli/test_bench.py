"""The bench's own sums: what it would say about figures that are known."""

from pathlib import Path

import pytest

from api.http.connection.socket_protocol import frame_bytes
from benchmarks import report
from benchmarks.figures import Figures, heard, quantile, summed_up
from benchmarks.load.http_client import Broken, body_length, header, request
from benchmarks.load.room_socket import whole_frames
from benchmarks.measure import WEIR, Bar, Measure, Result
from benchmarks.measures.all import MEASURES
from benchmarks.options import RESULTS, Options


def _laps(*rates: float, p99_ms: float = 1.0) -> list[Figures]:
    return [Figures(rate=rate, count=1, seconds=1, p50_ms=1.0, p99_ms=p99_ms) for rate in rates]


def _result(bar: Bar, **sides: list[Figures]) -> Result:
    measure = Measure(name="m", unit="things/s", bars=(bar,), open=MEASURES[0].open)
    return Result(measure=measure, sides=sides)


def test_a_ratio_is_the_median_of_quotients_of_neighbouring_laps_not_the_quotient_of_medians() -> None:
    bar = Bar(what="x", against="peer", ratio=2)
    result = _result(bar, **{WEIR: _laps(10, 40, 90), "peer": _laps(10, 10, 90)})
    assert result.ratios(bar) == [1, 4, 1]
    assert result.ratio(bar) == 1
    assert result.missed(bar) == ["ratio"]


def test_a_bar_that_is_reached_exactly_is_cleared() -> None:
    bar = Bar(what="x", against="peer", ratio=2, least=20, p50_ms=1, p99_ms=1)
    assert _result(bar, **{WEIR: _laps(20), "peer": _laps(10)}).missed(bar) == []


def test_every_limit_that_is_missed_is_named() -> None:
    bar = Bar(what="x", least=100, p50_ms=0.5, p99_ms=25)
    assert _result(bar, **{WEIR: _laps(99, p99_ms=26)}).missed(bar) == ["rate", "p50", "p99"]


def test_what_is_the_better_the_less_there_is_of_it_is_bounded_from_above() -> None:
    bar = Bar(what="x", most=25)
    assert _result(bar, **{WEIR: _laps(25)}).missed(bar) == []
    result = _result(bar, **{WEIR: _laps(26)})
    assert report.rows([result]) == [("x", "26 things/s", "–", "–", "≤ 25", "MISSED (most)")]


def test_a_p99_beside_another_is_the_median_of_quotients_of_neighbouring_laps() -> None:
    bar = Bar(what="x", ours="slow", against=WEIR, p99_ratio=1.25)
    alone = [*_laps(1, p99_ms=10), *_laps(1, p99_ms=40), *_laps(1, p99_ms=20)]
    same = _result(bar, **{WEIR: alone, "slow": [*_laps(1, p99_ms=10), *_laps(1, p99_ms=50), *_laps(1, p99_ms=90)]})
    assert same.missed(bar) == []
    worse = _result(bar, **{WEIR: alone, "slow": [*_laps(1, p99_ms=10), *_laps(1, p99_ms=60), *_laps(1, p99_ms=90)]})
    (row,) = report.rows([worse])
    assert row[1:] == (
        "1 things/s, p50 1.0 ms, p99 60.0 ms",
        "Weir: p99 20.0 ms",
        "1.50 × (1.00–4.50)",
        "p99 ≤ 1.25 ×",
        "MISSED (p99 ratio)",
    )


def test_a_room_socket_of_the_bench_finds_each_frame_in_whatever_pieces_it_came() -> None:
    frames = [b"welcome", b"x" * 125, b"y" * 126, b"z" * 60_000]
    sent = b"".join(frame_bytes(text.decode()) for text in frames[:2]) + b"\x89\x04ping"
    sent += b"".join(frame_bytes(text.decode()) for text in frames[2:])
    for size in (1, 7, 1_000, len(sent)):
        pieces = [(float(at), sent[at : at + size]) for at in range(0, len(sent), size)]
        assert [frame for _, frame in whole_frames(pieces)] == frames
        assert list(whole_frames(pieces))[-1][0] == pieces[-1][0]


def test_a_row_without_limits_passes_no_verdict() -> None:
    bar = Bar(what="x", against="peer")
    (row,) = report.rows([_result(bar, **{WEIR: _laps(20), "peer": _laps(10)})])
    assert row == ("x", "20 things/s", "peer: 10 things/s", "2.00 × (2.00–2.00)", "–", "–")


def test_the_record_shows_verdicts_and_every_lap() -> None:
    bar = Bar(what="x", against="peer", ratio=3)
    result = _result(bar, **{WEIR: _laps(20), "peer": _laps(10)})
    text = report.write(Options(), {"machine": "two cores"}, [result], _laps(1)[0])
    assert "| x | 20 things/s | peer: 10 things/s | 2.00 × (2.00–2.00) | ≥ 3 × | MISSED (ratio) |" in text
    assert "| m | peer | 10 | 1.00 | – | 1.00 | – |" in text
    assert "- machine: two cores" in text


def test_quantiles_are_values_that_occurred() -> None:
    ordered = [float(number) for number in range(100)]
    assert [quantile(ordered, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0, 50, 99, 99]
    assert quantile([], 0.5) == 0


def test_figures_travel_as_the_last_line_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    figures = summed_up([0.001, 0.003], 2.0, client_cpu=0.00004)
    figures.tell()
    assert heard("a warning\n" + capsys.readouterr().out) == figures
    assert (figures.rate, figures.p50_ms, figures.max_ms, figures.client_us) == (1, 3, 3, 20)


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nx: y", 12),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7", 7),
        (b"HTTP/1.1 304 Not Modified\r\netag: x", 0),
    ],
)
def test_the_client_knows_where_an_answer_ends(head: bytes, length: int) -> None:
    assert body_length(head) == length


def test_the_client_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(Broken):
        body_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


def test_headers_are_found_in_any_spelling() -> None:
    assert header(b"HTTP/1.1 201 Created\r\nConsistency-Token: abc", b"consistency-token") == b"abc"
    assert header(b"HTTP/1.1 201 Created", b"consistency-token") == b""


def test_a_request_says_how_long_its_body_is() -> None:
    assert request("POST", "/x", {"A": "b"}, b"{}").endswith(b"Content-Length: 2\r\nA: b\r\n\r\n{}")


def test_only_a_whole_run_goes_on_record_by_itself(tmp_path: Path) -> None:
    assert Options.of(only=(), quick=False, output=None).output == RESULTS
    assert Options.of(only=("replay",), quick=False, output=None).output is None
    assert Options.of(only=(), quick=True, output=None).output is None
    assert Options.of(only=(), quick=True, output=tmp_path).output == tmp_path


def test_what_is_given_goes_before_the_defaults_of_a_quick_look() -> None:
    assert Options.of(only=(), quick=True, output=None, rounds=5, seconds=None).rounds == 5
    assert Options.of(only=(), quick=True, output=None, rounds=5, seconds=None).seconds == 1.5


def test_measures_have_names_of_their_own_and_compare_sides_by_bars() -> None:
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names)
    assert all(measure.bars for measure in MEASURES)
