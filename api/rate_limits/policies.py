"""The table of route classes: how often each route may be asked, by whom, and what holds while Redis is away.

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

import re
from collections.abc import Mapping
from typing import Final

_PARAMETER: Final = re.compile(r"\{[^}]*\}")

CLASSES: Final[Mapping[str, str]] = {
    "GET /.well-known/jwks.json": "public",
    "GET /docs": "public",
    "GET /docs/{}": "public",
    "GET /health": "free",
    "GET /health/live": "free",
    "GET /health/ready": "free",
    "GET /metrics": "free",
    "GET /openapi.json": "public",
    "POST /v1/accounts": "register",
    "GET /v1/accounts": "read",
    "GET /v1/accounts/{}": "read",
    "POST /v1/auth/logout": "token",
    "POST /v1/auth/password-reset": "mail",
    "POST /v1/auth/password-reset/confirm": "token",
    "POST /v1/auth/refresh": "token",
    "POST /v1/auth/token": "login",
    "POST /v1/auth/verify-email": "token",
    "GET /v1/events": "read",
    "DELETE /v1/me": "password",
    "GET /v1/imports/{}": "read",
    "GET /v1/me": "read",
    "GET /v1/me/api-keys": "read",
    "GET /v1/me/api-keys/{}": "read",
    "PUT /v1/me/password": "password",
    "GET /v1/me/sessions": "read",
    "POST /v1/me/verify-email": "mail",
    "GET /v1/orders": "read",
    "GET /v1/orders/{}": "read",
    "GET /v1/orders/{}/history": "read",
    "GET /v1/dashboard": "read",
    "GET /v1/products": "browse",
    "GET /v1/products/popular": "browse",
    "GET /v1/products/{}": "public",
    "GET /v1/products/{}/image": "browse",
    "PUT /v1/products/{}/image": "upload",
    "GET /v1/streams/{}/events": "read",
    "POST /v1/webhooks/payments": "hook",
}


def route_key(method: str, template: str) -> str:
    """How a route stands in the table: the names of its parameters make no difference."""
    return f"{method} {_PARAMETER.sub('{}', template)}"


def class_of(method: str, template: str) -> str:
    """The class of a route: `write` if it changes something and is not in the table. None is let through uncounted."""
    return CLASSES.get(route_key(method, template), "read" if method == "GET" else "write")
