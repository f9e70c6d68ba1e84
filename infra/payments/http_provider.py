"""The payment provider over HTTP: one POST per attempt, and what its answer, or its silence, means for the money.

Only an answer in the provider's own words decides anything. Whatever else comes, from a proxy's page to a redirect,
leaves the refund owed.
"""

import asyncio
import re
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

import httpx2
import orjson
from pydantic import SecretStr

from domain.kernel.refusals import InvalidValue
from domain.money import Money
from infra.host import network_errors
from infra.host.retry_after import told_wait
from infra.payments.provider import Deferred, Refund, RefundOutcome, Refused, Returned

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 8.0
CONNECTIONS: Final = 8
IDLE_SECONDS: Final = 4.0
"""An unused connection is closed after this. Many servers close theirs after five; to ask over it is in vain."""
MOST_BYTES: Final = 64 * 1024
IN_FLIGHT: Final = "idempotency-key-in-flight"

_PATH: Final = "v1/refunds"
_LATER: Final = frozenset({401, 403, 407, 408, 421, 425, 429})
"""What passes, and what speaks of our key or our way to the provider: none of it is a verdict on the refund."""
_CODE: Final = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*", re.ASCII)
_REFERENCE: Final = re.compile(r"[\x21-\x7e]{1,255}")
_LONGEST_CODE: Final = 64


class HttpPaymentProvider:
    """One provider, over a few connections that are kept open. The environment's proxies and .netrc have no say."""

    def __init__(self, url: str, key: SecretStr | None) -> None:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        self._url = f"{url.rstrip('/')}/{_PATH}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            limits=httpx2.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS
            ),
            follow_redirects=False,
            trust_env=False,
        )

    async def refund(self, refund: Refund, *, deadline: float) -> RefundOutcome:
        """See :class:`~infra.payments.provider.PaymentProvider`."""
        if asyncio.get_running_loop().time() >= deadline:
            return Deferred(reason="too late to ask", alone=True)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._ask(refund)
        except (TimeoutError, httpx2.TimeoutException):
            return Deferred(reason="no answer in time")
        except (httpx2.HTTPError, OSError) as error:
            return Deferred(reason=network_errors.cause(error))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _ask(self, refund: Refund) -> RefundOutcome:
        body = orjson.dumps({"payment_id": refund.payment_id, "amount": _written(refund.amount)})
        headers = {"Idempotency-Key": refund.key}
        async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
            content = await _bounded(answer)
            return judge(refund, answer.status_code, answer.headers, content)


async def _bounded(answer: httpx2.Response) -> bytes:
    """The body as it came over the wire, or nothing of one that is larger than any answer of a provider's."""
    body = bytearray()
    async with aclosing(answer.aiter_raw()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MOST_BYTES:
                return b""
    return bytes(body)


def judge(refund: Refund, status: int, headers: Mapping[str, str], content: bytes) -> RefundOutcome:
    """What an answer means. Of its text only a code is kept: the rest may name people."""
    told = _object(content)
    wait = told_wait(headers)
    if status in (200, 201):
        reference = told.get("refund_id")
        if _is_about(refund, told) and isinstance(reference, str) and _REFERENCE.fullmatch(reference):
            return Returned(reference=reference)
        return Deferred(reason=f"HTTP {status} that makes no sense", retry_after=wait)
    code = told.get("code")
    if not 400 <= status < 500 or status in _LATER or not _is_code(code):
        return Deferred(reason=f"HTTP {status}", retry_after=wait)
    if (status, code) == (409, IN_FLIGHT):
        return Deferred(reason=f"HTTP 409 {code}", retry_after=wait, alone=True)
    return Refused(reason=f"HTTP {status} {code}")


def _object(content: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _is_code(code: object) -> bool:
    return isinstance(code, str) and len(code) <= _LONGEST_CODE and _CODE.fullmatch(code) is not None


def _is_about(refund: Refund, told: Mapping[str, Any]) -> bool:
    """Whether an answer speaks of this very money."""
    return told.get("payment_id") == refund.payment_id and _money(told.get("amount")) == refund.amount


def _money(told: object) -> Money | None:
    match told:
        case {"amount": str(amount), "currency": str(currency)}:
            try:
                return Money.parse(amount, currency)
            except InvalidValue:
                return None
    return None


def _written(money: Money) -> dict[str, str]:
    return {"amount": f"{money.amount:f}", "currency": money.currency}
