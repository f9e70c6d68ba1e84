"""The ports of a data directory: counted from the API's, the same at every start, others only where they are taken."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.supervisor.ports import USUAL, KeptPorts
from cli.supervisor.programs import worker_names
from infra.embedded import StartFailed

NAMES = ("api", "smtp", "mailbox", "provider", "postgres", "valkey", *worker_names(16))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def ports(directory: Path, port: int | None) -> KeptPorts:
    """As a start finds them."""
    found = KeptPorts(directory, port)
    found.recall()
    return found


def kept(directory: Path, port: int | None, **noted: int) -> None:
    """What a start has left behind."""
    found = ports(directory, port)
    for name, number in noted.items():
        found.note(name, number)
    found.keep()


@pytest.mark.parametrize("port", [None, 9000])
def test_every_port_is_counted_from_the_apis_and_no_two_are_the_same(tmp_path: Path, port: int | None) -> None:
    numbers = [ports(tmp_path, port).wanted(name) for name in NAMES]
    assert numbers[0] == (port or USUAL)
    assert len(set(numbers)) == len(NAMES)
    assert all(0 <= number - numbers[0] < 100 for number in numbers)


def test_a_port_beyond_the_last_is_any_that_is_free(tmp_path: Path) -> None:
    assert ports(tmp_path, 65_535).wanted("mailbox") == 0
    assert 0 < ports(tmp_path, 65_535).take("mailbox") < 65_536


def test_what_is_taken_gives_way_to_a_free_one_which_is_kept_for_the_next_start(tmp_path: Path, taken: int) -> None:
    first = ports(tmp_path, taken - 25)
    assert first.wanted("mailbox") == taken
    instead = first.take("mailbox")
    first.keep()
    assert instead != taken
    for port in (taken - 25, None):
        assert ports(tmp_path, port).wanted("mailbox") == instead


def test_the_apis_port_by_its_number_is_had_or_refused_and_else_it_gives_way(tmp_path: Path, taken: int) -> None:
    with pytest.raises(StartFailed, match=rf"port {taken} is taken; `--port` names another"):
        ports(tmp_path, taken).take("api")
    kept(tmp_path, None, api=taken)
    assert ports(tmp_path, None).wanted("api") == taken
    assert ports(tmp_path, None).take("api") != taken


def test_another_number_has_all_of_them_counted_anew_and_no_number_goes_on_as_before(tmp_path: Path) -> None:
    kept(tmp_path, 9000, mailbox=15_001)
    assert ports(tmp_path, 9100).wanted("mailbox") == 9125
    assert ports(tmp_path, None).wanted("mailbox") == 15_001
    assert ports(tmp_path, None).wanted("api") == 9000


def test_a_port_that_is_given_once_is_not_given_twice(tmp_path: Path) -> None:
    found = ports(tmp_path, 0)
    assert len({found.take(name) for name in NAMES}) == len(NAMES)
    found = ports(tmp_path, 9000)
    found.note("smtp", 9025)
    assert found.take("mailbox") != 9025


@pytest.mark.parametrize("content", ["", "{", "[]", '{"port": "x"}', '{"port": 1}', '{"port": 1, "ports": {"a": "b"}}'])
def test_a_spoilt_file_is_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    assert ports(tmp_path, None).wanted("api") == USUAL


def test_what_did_not_run_this_time_keeps_its_port_for_the_next(tmp_path: Path) -> None:
    kept(tmp_path, None, **{"tasks-2": 15_002})
    kept(tmp_path, None, tasks=15_003)
    assert ports(tmp_path, None).wanted("tasks-2") == 15_002


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("postgresql://weir:x@127.0.0.1:8032/weir", True),
        ("postgresql://weir:x@localhost:8032/weir", True),
        ("postgresql://weir:x@localhost:5432/weir", False),
        ("postgresql://weir:x@db.example:8032/weir", False),
        ("postgresql:///weir", False),
        ("postgresql://weir:x@127.0.0.1:8032,127.0.0.1:8033/weir", False),
        ("redis+sentinel://127.0.0.1:8032,127.0.0.1:8033/mymaster/0", False),
    ],
)
def test_a_url_of_the_directorys_own_server_is_known(tmp_path: Path, url: str, ours: bool) -> None:
    assert not ports(tmp_path, None).leads_here("postgres", url)
    kept(tmp_path, None, postgres=8032)
    assert ports(tmp_path, None).leads_here("postgres", url) is ours
