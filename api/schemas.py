"""The models that request bodies, forms and queries are built from: strict about shape, silent about values."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints


class Body(BaseModel):
    """A JSON body. Unknown fields are refused, and so are ``"1"`` and ``true`` for 1."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class NoBody(Body):
    """What a command without fields takes: nothing, or an empty object."""


class Params(BaseModel):
    """Query parameters or a form: everything arrives as text, unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
"""One line of text without control characters."""

Amount = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,4})?$")]
"""An exact decimal amount; a JSON number is refused, because it may already have lost digits."""

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class MoneyBody(Body):
    """Money as clients write it: ``{"amount": "19.90", "currency": "EUR"}``."""

    amount: Amount
    currency: Currency


class ReceiptDocument(BaseModel):
    """The answer to a write; some routes add fields."""

    model_config = ConfigDict(extra="allow", title="Receipt")

    id: str
    version: int
    position: int
