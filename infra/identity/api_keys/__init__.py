"""API keys: what a program shows instead of a token.

::

    weir_<id>_<secret><checksum>
          │      │         └ a mistyped or invented key is refused without a look at Postgres
          │      └ 256 random bits; Postgres has their digest, so a copy of it opens nothing
          └ names the row, may be shown, and finds the key when it turns up where it should not be
"""

from infra.identity.api_keys.format import Fresh, InvalidApiKey, fresh, prefix_of
from infra.identity.api_keys.store import (
    MOST_KEYS,
    AccountChanged,
    ApiKey,
    NewKey,
    TooManyApiKeys,
    account_unchanged,
    as_told,
    is_kept,
    listed,
    make,
    revoke,
    revoke_all,
    told,
)
from infra.identity.api_keys.verifier import ApiKeys, Bearer

__all__ = [
    "MOST_KEYS",
    "AccountChanged",
    "ApiKey",
    "ApiKeys",
    "Bearer",
    "Fresh",
    "InvalidApiKey",
    "NewKey",
    "TooManyApiKeys",
    "account_unchanged",
    "as_told",
    "fresh",
    "is_kept",
    "listed",
    "make",
    "prefix_of",
    "revoke",
    "revoke_all",
    "told",
]
