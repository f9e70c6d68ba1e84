"""The classes of routes: how often each may be asked, by whom, and what holds while Redis is away.

Each route says its own where it is declared: ``@limited("write")``.

| class      | counted by                                    | counted where         | Redis away |
|------------|-----------------------------------------------|-----------------------|------------|
| `login`    | source; failures: name and source, name       | together              | closed     |
| `register` | source                                        | together              | closed     |
| `mail`     | source; address                               | together              | closed     |
| `password` | account: wrong passwords only                 | here, settled         | each alone |
| `token`    | source                                        | here, settled         | each alone |
| `write`    | account or API key                            | here, settled         | each alone |
| `upload`   | account or API key                            | here, settled         | each alone |
| `read`     | account or API key                            | here, settled         | each alone |
| `browse`   | source                                        | here, settled         | each alone |
| `public`   | source                                        | here, settled         | each alone |
| `hook`     | source                                        | here, settled         | each alone |
| `free`     | not at all                                    |                       | open       |

`docs/decisions/0006-limits-and-the-edge.md` says why.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, get_args

F = TypeVar("F", bound=Callable[..., Any])

LimitClass = Literal[
    "login", "register", "mail", "password", "token", "write", "upload", "read", "browse", "public", "hook", "free"
]
CLASSES: Final[frozenset[str]] = frozenset(get_args(LimitClass))


def limited(name: LimitClass) -> Callable[[F], F]:
    """Mark an endpoint as one whose requests are counted in that class."""

    def mark(endpoint: F) -> F:
        endpoint.__dict__["limit_class"] = name
        return endpoint

    return mark


def marked(endpoint: Any) -> LimitClass | None:
    """The class that the endpoint is marked with, if it is."""
    return getattr(endpoint, "limit_class", None)


def class_of(endpoint: Any, method: str) -> LimitClass:
    """The class of a route. One that was forgotten is not let through uncounted."""
    return marked(endpoint) or ("read" if method == "GET" else "write")
