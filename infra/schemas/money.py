"""The shapes that several entrances share: strict about form, silent about values."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from domain.money import Money


class Body(BaseModel):
    """A JSON body. Unknown fields are refused, and so are ``"1"`` and ``true`` for 1."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


Amount = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,4})?$")]
"""An exact decimal amount; a JSON number is refused, because it may already have lost digits."""

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class MoneyBody(Body):
    """Money as clients write it: ``{"amount": "19.90", "currency": "EUR"}``."""

    amount: Amount
    """The exact amount as a decimal number in a string, from 0 to below 10^12: `"19.90"`. It has at most as many digits
    behind the point as its currency, two for EUR and none for JPY."""
    currency: Currency
    """The currency by its three letters (ISO 4217): `EUR`."""


def money(body: MoneyBody, pointer: str) -> Money:
    """Money from the wire; raises what :meth:`Money.parse` raises."""
    return Money.parse(body.amount, body.currency, pointer)
