"""What the world sees of the shop: nginx' doors, open and closed, and what it says by itself."""

import http.client
import json
import socket
import ssl
import time
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import urlopen

from deploy.compose_test.report import Failed, note
from deploy.compose_test.stack import PORTS, URL

CLOSED: Final = (
    "/metrics",
    "/metrics?name[]=up",
    "//metrics",
    "/%6detrics",
    "/v1/../metrics",
    "/health",
    "/health/ready",
    "/v1/operations",
    "/v1/operations/",
    "/v1/operations/anything",
    "/v1/%6fperations/anything",
)
"""What nobody outside is shown, and other ways to write it."""
_HEADERS: Final = (
    "X-Content-Type-Options",
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "Cache-Control",
    "X-Request-ID",
)
_PORT: Final = urlsplit(URL).port or 443
_HEAD_SECONDS: Final = 10
_FLOOD_SECONDS: Final = 5
"""Longer than a burst of the zone `sign_in` lasts at its rate."""


def check_doors(certificate: Path) -> None:
    """All of it. Raises :class:`Failed` at the first thing that is not so."""
    trust = ssl.create_default_context(cafile=certificate)
    for path in CLOSED:
        status, headers = _asked(trust, path)
        kind = dict(headers).get("Content-Type")
        _expect((status, kind) == (404, "application/problem+json"), f"{path} is answered {status}, {kind}")
        _once_each(path, headers)
    note(f"closed: 404 for {len(CLOSED)} ways to ask for what is inside")
    status, headers = _asked(trust, "/v1/products")
    _expect(status == 200, f"the catalogue is answered {status}")
    _once_each("/v1/products", headers)
    note("headers: each of nosniff, CSP, HSTS, Cache-Control, X-Request-ID once, on nginx' answers and on Weir's")
    status, _ = _asked(trust, "/v1/products", host="other.example")
    _expect(status == 421, f"another host is answered {status}")
    _plain_http_is_sent_to_https()
    _bodies_are_bounded(trust)
    _expect(_negotiated(trust) == "h2", "no HTTP/2")
    note("hosts, plain HTTP, bodies, HTTP/2: 421 for another host, 308 to https, 413 for 3 MB, h2 by ALPN")
    note(f"a head that never ends: closed after {_head_that_never_ends(trust):.1f} s")
    note(f"a flood of sign-ins: {_flood(trust)}")


def targets_up() -> Counter[str]:
    """How many processes of each job Prometheus reaches. Raises :class:`Failed` if there is one that it does not."""
    targets = json.loads(_from_prometheus("targets"))["data"]["activeTargets"]
    down = [f"{each['labels']['job']} {each['lastError']}" for each in targets if each["health"] != "up"]
    if down:
        raise Failed(f"Prometheus does not reach {down}")
    return Counter(each["labels"]["job"] for each in targets)


def rules() -> str:
    """What Prometheus has of them, in words."""
    groups = json.loads(_from_prometheus("rules"))["data"]["groups"]
    kinds = Counter(rule["type"] for group in groups for rule in group["rules"])
    ill = [
        f"{rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if rule.get("lastError")
    ]
    _expect(not ill, f"rules fail: {ill[:3]}")
    return f"{kinds['recording']} recording and {kinds['alerting']} alerting"


def _from_prometheus(what: str) -> bytes:
    with urlopen(f"http://127.0.0.1:{PORTS['PROMETHEUS_PORT']}/api/v1/{what}", timeout=5) as answer:
        read: bytes = answer.read()
    return read


def _asked(trust: ssl.SSLContext, path: str, *, host: str = "localhost") -> tuple[int, list[tuple[str, str]]]:
    connection = http.client.HTTPSConnection("localhost", _PORT, context=trust, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.getheaders()


def _once_each(path: str, headers: list[tuple[str, str]]) -> None:
    told = Counter(name.lower() for name, _ in headers)
    wrong = [name for name in _HEADERS if told[name.lower()] != 1]
    _expect(not wrong, f"{path}: not just once: {wrong}")


def _plain_http_is_sent_to_https() -> None:
    connection = http.client.HTTPConnection("localhost", PORTS["HTTP_PORT"], timeout=10)
    connection.request("GET", "/v1/products?q=a", headers={"Host": "other.example"})
    answer = connection.getresponse()
    _expect(
        (answer.status, answer.getheader("Location")) == (308, f"{URL}/v1/products?q=a"),
        f"plain HTTP is answered {answer.status}, {answer.getheader('Location')}",
    )
    connection.close()


def _bodies_are_bounded(trust: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection("localhost", _PORT, context=trust, timeout=10)
    connection.putrequest("POST", "/v1/orders")
    connection.putheader("Content-Length", "3000000")
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    _expect(status == 413, f"3 MB of order are answered {status}")


def _connected(trust: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("localhost", _PORT), timeout=_HEAD_SECONDS * 2)
    return trust.wrap_socket(plain, server_hostname="localhost")


def _negotiated(trust: ssl.SSLContext) -> str | None:
    trust.set_alpn_protocols(["h2", "http/1.1"])
    with _connected(trust) as connection:
        chosen = connection.selected_alpn_protocol()
    trust.set_alpn_protocols(["http/1.1"])
    return chosen


def _head_that_never_ends(trust: ssl.SSLContext) -> float:
    begun = time.monotonic()
    with _connected(trust) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-")
        connection.recv(1024)
    return time.monotonic() - begun


def _flood(trust: ssl.SSLContext) -> str:
    """GET, which the route refuses before anybody is counted: what answers 429 is nginx."""
    statuses = Counter(_asked(trust, "/v1/auth/token")[0] for _ in range(120))
    _expect(statuses[429] > 0, f"a flood was answered {statuses}")
    time.sleep(_FLOOD_SECONDS)
    status, _ = _asked(trust, "/v1/auth/token")
    _expect(status == 405, f"after the flood {status} is answered")
    return ", ".join(f"{number} × {status}" for status, number in sorted(statuses.items()))


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)
