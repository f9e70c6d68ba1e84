"""A bucket as S3 serves it, over HTTP: it checks every signature, puts parts together, and fails when it is told to."""

import hmac
import re
from dataclasses import dataclass, field
from hashlib import md5, sha256
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BUCKET = "shop"
ACCESS_KEY = "AKIATEST"
SECRET_KEY = "a secret of the tests"


def s3_settings(port: int, secret: str = SECRET_KEY) -> dict[str, str]:
    """What a process is told of the bucket that is served there."""
    return {
        "storage_url": f"s3://{BUCKET}/files",
        "storage_endpoint": f"http://127.0.0.1:{port}",
        "storage_access_key_id": ACCESS_KEY,
        "storage_secret_access_key": secret,
    }


_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>\S+), SignedHeaders=(?P<names>\S+), Signature=(?P<code>\w+)"
)


@dataclass(kw_only=True)
class Thing:
    """One object of the bucket."""

    content: bytes
    media: str


@dataclass(kw_only=True)
class S3StandIn:
    """``failing`` is the status that everything is answered with; ``stalled`` lets all wait for an answer.

    ``ends_at`` cuts a download off behind so many bytes.
    """

    things: dict[str, Thing] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    failing: int | None = None
    stalled: bool = False
    ends_at: int | None = None
    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        self.seen.append(f"{request.method} {request.url.path}?{request.url.query}")
        if self.stalled:
            await receive()  # until the client hangs up
            return
        if self.failing is not None:
            answer = _refused(self.failing, "SlowDown")
        elif not signed(request, body):
            answer = _refused(403, "SignatureDoesNotMatch")
        else:
            answer = self._answer(request, body)
        if self.ends_at is not None and request.method == "GET":
            answer.body = answer.body[: self.ends_at]
        await answer(scope, receive, send)

    def _answer(self, request: Request, body: bytes) -> Response:
        bucket, _, key = request.url.path[1:].partition("/")
        if bucket != BUCKET:
            return _refused(404, "NoSuchBucket")
        match request.method:
            case "PUT" | "POST":
                return self._take(request, key, body)
            case "DELETE":
                self.things.pop(key, None)
                return Response(status_code=204)
        return self._give(key, request.headers.get("range"))

    def _take(self, request: Request, key: str, body: bytes) -> Response:
        query, media = request.query_params, request.headers.get("content-type", "")
        if "uploads" in query:
            upload = f"{len(self.seen)}:{media}"
            self.uploads[upload] = {}
            return Response(f"<R><UploadId>{upload}</UploadId></R>", media_type="application/xml")
        if "partNumber" in query:
            self.uploads[query["uploadId"]][int(query["partNumber"])] = body
        elif "uploadId" in query:
            parts = self.uploads.pop(query["uploadId"])
            whole = b"".join(parts[number] for number in sorted(parts))
            self.things[key] = Thing(content=whole, media=query["uploadId"].partition(":")[2])
            return Response("<R><ETag>whole</ETag></R>", media_type="application/xml")
        else:
            self.things[key] = Thing(content=body, media=media)
        return Response(headers={"etag": f'"{md5(body).hexdigest()}"'})

    def _give(self, key: str, span: str | None) -> Response:
        thing = self.things.get(key)
        if thing is None:
            return _refused(404, "NoSuchKey")
        size, start = len(thing.content), int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
        headers = {
            "content-length": str(size - start),
            "etag": f'"{md5(thing.content).hexdigest()}"',
            "last-modified": "Sun, 22 Nov 2026 07:00:00 GMT",
        }
        if span:
            headers["content-range"] = f"bytes {start}-{size - 1}/{size}"
        return Response(thing.content[start:], 206 if span else 200, media_type=thing.media, headers=headers)


def signed(request: Request, body: bytes) -> bool:
    """Whether the request bears the signature of AWS's version 4 by :data:`SECRET_KEY`, over this very body."""
    shown = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    digest = sha256(body).hexdigest()
    if shown is None or shown["key"] != ACCESS_KEY or request.headers["x-amz-content-sha256"] != digest:
        return False
    asked = parse_qsl(request.url.query, keep_blank_values=True)
    canonical = "\n".join(
        [
            request.method,
            quote(request.url.path),
            "&".join(f"{quote(name, '')}={quote(value, '')}" for name, value in sorted(asked)),
            *(f"{name}:{request.headers[name].strip()}" for name in shown["names"].split(";")),
            "",
            shown["names"],
            digest,
        ]
    )
    text = "\n".join(
        ["AWS4-HMAC-SHA256", request.headers["x-amz-date"], shown["scope"], sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{SECRET_KEY}".encode()
    for step in shown["scope"].split("/"):
        key = hmac.digest(key, step.encode(), sha256)
    return hmac.compare_digest(hmac.digest(key, text.encode(), sha256).hex(), shown["code"])


def _refused(status: int, code: str) -> Response:
    told = f"<Error><Code>{code}</Code><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>"
    return Response(told, status_code=status, media_type="application/xml")
