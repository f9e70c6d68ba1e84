"""Web pages over a directory of ``.eml`` files: a list, a message, its HTML in a sandbox, its source. Read-only."""

import re
from collections.abc import Iterator
from datetime import datetime
from email import policy
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

_NAME = re.compile(r"[0-9A-Za-z.-]+\.eml")
_SHOWN = 200
_HEADERS = ("From", "To", "Subject", "Date", "Message-ID")
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'"
# What came by mail is a stranger's: no script, no request to anywhere, an origin of its own. A link that somebody
# follows opens outside of it: the page behind lets nobody frame it.
_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
_MAIL_POLICY = f"sandbox {_SANDBOX}; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)

_LAYOUT = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Mailbox</title><style>
:root{color-scheme:light dark;--ground:#f2f4f7;--card:#fff;--ink:#1c2733;--pale:#5b6773;--line:#dde3e9;--link:#1f5fbf}
@media(prefers-color-scheme:dark){:root{--ground:#14181c;--card:#1d232a;--ink:#e8ecf0;--pale:#9aa7b4;--line:#38424d;
--link:#8ab8ff}}
*{box-sizing:border-box}
body{font:15px/1.5 -apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;max-width:64rem;margin:2rem auto;
padding:0 1rem;background:var(--ground);color:var(--ink);overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{margin:2rem 0 .5rem;font-size:1.1rem}a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;width:100%;background:var(--card);border-radius:10px}
td,th{text-align:left;vertical-align:top;padding:.5rem .9rem;border-bottom:1px solid var(--line)}
tr:last-child>*{border-bottom:0}th{color:var(--pale);font-weight:400}
th,.when{white-space:nowrap}.when{color:var(--pale)}.to{width:40%}
pre{white-space:pre-wrap;background:var(--card);padding:1rem;border-radius:10px}
iframe{width:100%;height:40rem;border:1px solid var(--line);border-radius:10px}
@media(max-width:40rem){body{margin:1rem auto}.list th{display:none}
.list td{display:block;padding:0 .9rem;border:0}.list .when{padding-top:.6rem}
.list .to{width:auto}.list td:last-child{padding-bottom:.6rem}.list tr+tr+tr td.when{border-top:1px solid var(--line)}}
</style></head><body>"""
_PAGES = Environment(autoescape=True)
_LIST = _PAGES.from_string(
    _LAYOUT
    + """<h1>Mailbox</h1>{% if mails %}<table class="list"><tr><th>Received</th><th>To</th><th>Subject</th></tr>
{% for mail in mails %}<tr><td class="when">{{ mail.received }}</td><td class="to">{{ mail.to }}</td>
<td><a href="/message/{{ mail.name }}">{{ mail.subject or "(no subject)" }}</a></td></tr>{% endfor %}
</table>{% else %}<p>No mail yet. Load the page again when some has been sent.</p>{% endif %}</body></html>"""
)
_MESSAGE = _PAGES.from_string(
    _LAYOUT
    + """<p><a href="/">Mailbox</a> · <a href="/message/{{ name }}/raw">Source</a></p>
<table>{% for header, value in headers %}<tr><th>{{ header }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
{% if html %}<h2>HTML</h2>
<iframe sandbox="{{ sandbox }}" src="/message/{{ name }}/html" title="HTML part"></iframe>{% endif %}
{% if text %}<h2>Text</h2><pre>{{ text }}</pre>{% endif %}</body></html>"""
)


def create_mailbox(directory: Path) -> Starlette:
    """The pages. Answers only to names of this machine, so that no web site can read the mail through the browser."""
    mailbox = _Mailbox(directory)
    return Starlette(
        routes=[
            Route("/", mailbox.list),
            Route("/message/{name}", mailbox.message),
            Route("/message/{name}/html", mailbox.html),
            Route("/message/{name}/raw", mailbox.raw),
            Route("/health/live", _well),
            Route("/health/ready", _well),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])],
    )


class _Mailbox:
    """The endpoints. They read files, so they are plain functions, which run in threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def list(self, _request: Request) -> Response:
        return _page(_LIST.render(mails=list(self._newest())))

    def message(self, request: Request) -> Response:
        mail = self._parsed(request)
        headers = [(name, _clean(mail[name])) for name in _HEADERS if mail[name]]
        html, text = _part(mail, "html"), _part(mail, "plain")
        name = request.path_params["name"]
        return _page(_MESSAGE.render(name=name, headers=headers, html=html, text=text, sandbox=_SANDBOX))

    def html(self, request: Request) -> Response:
        html = _HEAD.sub(r'\g<0><base target="_blank">', _part(self._parsed(request), "html"), count=1)
        return HTMLResponse(html, headers={"Content-Security-Policy": _MAIL_POLICY, "Referrer-Policy": "no-referrer"})

    def raw(self, request: Request) -> Response:
        source = self._file(request).read_bytes()
        return PlainTextResponse(source, headers={"X-Content-Type-Options": "nosniff"})

    def _newest(self) -> Iterator[dict[str, str]]:
        for path in sorted(self._directory.glob("*.eml"), reverse=True)[:_SHOWN]:
            mail = _parse(path, headers_only=True)
            received = datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(" ", "seconds")
            yield {
                "name": path.name,
                "received": received,
                "to": _clean(mail["To"]),
                "subject": _clean(mail["Subject"]),
            }

    def _parsed(self, request: Request) -> Message:
        return _parse(self._file(request))

    def _file(self, request: Request) -> Path:
        name: str = request.path_params["name"]
        path = self._directory / name
        if not _NAME.fullmatch(name) or not path.is_file():
            raise HTTPException(404)
        return path


def _page(content: str) -> Response:
    return HTMLResponse(content, headers={"Content-Security-Policy": _PAGE_POLICY})


def _parse(path: Path, *, headers_only: bool = False) -> Message:
    """Headers stay as they came: the parser that understands them raises on some that are broken."""
    with path.open("rb") as file:
        return BytesParser(policy=policy.compat32).parse(file, headersonly=headers_only)


def _part(mail: Message, kind: str) -> str:
    """The first part of that kind that is no attachment, as text; empty if there is none."""
    for part in mail.walk():
        payload = part.get_payload(decode=True)
        if part.get_content_type() == f"text/{kind}" and not part.get_filename() and isinstance(payload, bytes):
            return _decoded(payload, part.get_content_charset("utf-8"))
    return ""


def _decoded(payload: bytes, charset: str) -> str:
    try:
        return payload.decode(charset, errors="replace")
    except LookupError:  # a charset that nobody knows
        return payload.decode("latin-1")


def _clean(value: object) -> str:
    """A header in words that can be encoded, whatever bytes it was made of."""
    raw = str(value or "")
    try:
        words = str(make_header(decode_header(raw)))
    except (LookupError, ValueError, HeaderParseError):
        words = raw
    return words.encode(errors="replace").decode()


def _well(_request: Request) -> Response:
    return PlainTextResponse("ok")
