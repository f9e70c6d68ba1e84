"""A program that stands in for the API or a worker: answers its health check, and misbehaves as it is told.

``python -m tests.faults.stand_in PORT [BEHAVIOUR...]``
"""

import os
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit


class Health(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def leave(_signal: int, _frame: FrameType | None) -> None:
    """Note whether Postgres could still be reached at the end, as a worker that drains needs it."""
    address = urlsplit(os.environ["DATABASE_URL"])
    with socket.socket() as probe:
        reached = probe.connect_ex((str(address.hostname), int(address.port or 0))) == 0
    Path("farewell").write_text("postgres was there" if reached else "postgres was gone")
    sys.exit(0)


def main(port: int, behaviours: list[str]) -> None:
    signal.signal(signal.SIGTERM, leave)
    if "crash" in behaviours:
        sys.exit("I cannot go on")
    if "grandchild" in behaviours:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if "stubborn" in behaviours:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "unready" in behaviours:
        Health.status = 503
    if "talkative" in behaviours:
        sys.stderr.write(
            '{"event": "all is well", "level": "info"}\n{"event": "it burns", "level": "error", "where": "here"}\n'
        )
    if "once" in behaviours:
        return
    with ThreadingHTTPServer(("127.0.0.1", port), Health) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
