"""Why a line to another machine did not come about, in words: for whoever has to mend it, without a secret."""

import socket
import ssl
from collections.abc import Iterator
from typing import Final

_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (socket.gaierror, "no such host is known"),
    (ConnectionRefusedError, "connection refused"),
    (TimeoutError, "no answer in time"),
)


def cause(error: BaseException) -> str:
    """In words; libraries wrap what the system has said, so that it is looked for behind the error."""
    return next((words for each in behind(error) if (words := _words(each))), type(error).__name__)


def is_certificate(error: BaseException) -> bool:
    """Whether the other side could not prove who it is."""
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in behind(error))


def place(host: str | None, port: int) -> str:
    """Host and port as people write them."""
    name = host or "localhost"
    return f"{f'[{name}]' if ':' in name else name}:{port}"


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it was raised for: libraries wrap what the server has said."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'it was broken off'}"
    if said := next((words for kind, words in _WORDS if isinstance(error, kind)), None):
        return said
    return error.strerror if isinstance(error, OSError) else None
