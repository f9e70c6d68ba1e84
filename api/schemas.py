"""The models that request bodies, forms and queries are built from: strict about shape, silent about values."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from infra.bodies import Body, MoneyBody

__all__ = ["Body", "Line", "MoneyBody", "NoBody", "Params", "ReceiptDocument"]


class NoBody(Body):
    """What a command without fields takes: nothing, or an empty object."""


class Params(BaseModel):
    """Query parameters or a form: everything arrives as text, unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
"""One line of text without control characters."""


class ReceiptDocument(BaseModel):
    """The answer to a write; some routes add fields."""

    model_config = ConfigDict(extra="allow", title="Receipt")

    id: str
    version: int
    position: int
