"""The scopes that access tokens carry and endpoints ask for: what each role may do is a rule of accounts."""

from domain.accounts.scopes import MEANINGS, SCOPES, scopes_of

__all__ = ["MEANINGS", "SCOPES", "scopes_of"]
