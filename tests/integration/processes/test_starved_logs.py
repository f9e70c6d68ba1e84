"""Log lines where there is no room, no file to open and no memory: the process goes on, and says what was lost."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.observability.log_writer import LogWriter

BEGIN = """
import os, resource, sys, threading
from pathlib import Path
from infra.observability.log_writer import LogWriter

writer = LogWriter(1, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
writer.start()
"""
LINE = b'{"line": "%s"}' % (b"x" * 60)


def written(program: str, *arguments: str) -> Sequence[bytes]:
    """What a process has left in its log, which must have ended well."""
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN + program, *arguments], capture_output=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout.splitlines()


def test_who_has_no_file_left_to_open_still_writes_in_its_turn(tmp_path: Path) -> None:
    program = """
writer.urgent(b"one")
os.remove(sys.argv[1])  # as whoever tidies up takes away what nobody writes to
held = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (held - 1, held - 1))
writer.urgent(b"two")
writer.urgent(b"three")
print(threading.active_count(), file=sys.stdout)
sys.stdout.flush()
writer.close()
"""
    assert written(program, str(tmp_path / "turns")) == [b"one", b"two", b"three", b"2"]


def test_where_its_turn_is_not_to_be_had_lines_are_written_all_the_same(tmp_path: Path) -> None:
    program = 'writer.urgent(b"one")\nwriter.line(b"two")\nwriter.close()'
    assert written(program, str(tmp_path / "gone" / "turns")) == [b"one", b"two"]


def test_a_line_that_cannot_be_made_takes_nobody_with_it() -> None:
    program = """
def starved(_):
    raise MemoryError

writer.urgent((starved, None))
writer.urgent(b"after")
writer.close()
"""
    dropped, after = written(program)
    assert json.loads(dropped)["event"] == "log lines dropped"
    assert after == b"after"


def test_what_a_full_disk_did_not_take_is_told_once_there_is_room_and_tears_no_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"""
os.dup2(os.open({str(log)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
line = {LINE!r}
writer.urgent(line)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(1.5 * len(line)), most))
writer.urgent(line)
writer.urgent(line)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
writer.urgent(line)
writer.close()
"""
    written(program)
    whole, torn, after, told = log.read_bytes().splitlines()
    assert (whole, after) == (LINE, LINE)
    assert LINE.startswith(torn)
    assert (json.loads(told)["event"], json.loads(told)["count"]) == ("log lines dropped", 2)


def test_a_writer_counts_what_nobody_took() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        writer = LogWriter(full.fileno())
        writer.line(b"lost")
        writer.flush()
        assert writer.dropped == 1
