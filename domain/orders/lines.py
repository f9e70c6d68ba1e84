"""Lines of an order, what they add up to, its address and its number."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Final
from uuid import UUID

from domain.countries import COUNTRIES
from domain.kernel.refusals import InvalidValue, Refusal
from domain.money import LIMIT, InvalidAmount, Money, price, total
from domain.values import line, quantity, rate

MOST_LINES: Final = 100
LONGEST_TEXT: Final = 200

# Crockford's alphabet has no I, L, O and U: a number read out over the telephone arrives as it was.
_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class MixedCurrencies(Refusal):
    """An order is in one currency."""

    code = "mixed-currencies"


class DuplicateItem(Refusal):
    """A product may be in an order once."""

    code = "duplicate-item"


@dataclass(frozen=True, kw_only=True)
class OrderLine:
    """Pieces of one product at the price and the tax rate of the day."""

    product_id: UUID
    sku: str
    name: str
    quantity: int
    unit_price: Money
    tax_rate: Decimal

    @property
    def line_total(self) -> Money:
        """Net."""
        return self.unit_price.times(self.quantity)

    @property
    def tax(self) -> Money:
        """Rounded here, once per line."""
        return self.line_total.tax(self.tax_rate)


@dataclass(frozen=True, kw_only=True, repr=False)
class Address:
    """Where the parcel goes."""

    name: str
    """Who takes the parcel."""
    line1: str
    """Street and number, or what stands for them."""
    city: str
    """The city."""
    country: str
    """Two letters (ISO 3166-1 alpha-2)."""
    line2: str | None = None
    """A second line, such as the floor."""
    postal_code: str | None = None
    """The postal code, where there is one."""
    region: str | None = None
    """The state or province, where an address needs it."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What lines add up to."""

    subtotal: Money
    tax: Money
    total: Money


def totals(lines: Sequence[OrderLine]) -> Totals:
    """Add up checked lines: net, tax rounded per line, and both together."""
    currency = lines[0].unit_price.currency
    nets = [line.line_total for line in lines]
    subtotal = total(nets, currency)
    tax = total((net.tax(line.tax_rate) for net, line in zip(nets, lines, strict=True)), currency)
    due = subtotal + tax
    if due.amount >= LIMIT:
        raise InvalidAmount("the total is too large", pointer="/items")
    return Totals(subtotal=subtotal, tax=tax, total=due)


def checked_lines(lines: Sequence[OrderLine]) -> tuple[OrderLine, ...]:
    """Return the lines if they can be ordered together: 1 to 100, each product once, all in one currency."""
    if not 1 <= len(lines) <= MOST_LINES:
        raise InvalidValue(f"must have from 1 to {MOST_LINES} items", pointer="/items")
    seen: set[UUID] = set()
    for place, item in enumerate(lines):
        _check(item, f"/items/{place}", lines[0].unit_price.currency)
        if item.product_id in seen:
            raise DuplicateItem("the product is in the order already", pointer=f"/items/{place}/product_id")
        seen.add(item.product_id)
    return tuple(lines)


def checked_address(address: Address | None) -> Address | None:
    """Return the address if every part of it is a short line."""
    if address is None:
        return None
    trimmed = {}
    for name, part in vars(address).items():
        if part is not None and (kept := line(part, f"/shipping_address/{name}", longest=LONGEST_TEXT)) != part:
            trimmed[name] = kept
    if address.country not in COUNTRIES:
        raise InvalidValue("must be an ISO 3166-1 alpha-2 code", pointer="/shipping_address/country")
    return replace(address, **trimmed) if trimmed else address


def order_number(order_id: UUID, year: int) -> str:
    """A number that people can read out, such as ``W-2026-7K3M9QXA``.

    Its letters come from the order's id, so that it tells nobody how many orders there are; the claim on it keeps it
    unique.
    """
    bits = int.from_bytes(blake2b(order_id.bytes, digest_size=5).digest(), "big")
    return f"W-{year}-" + "".join(_LETTERS[bits >> shift & 31] for shift in range(35, -1, -5))


def _check(item: OrderLine, pointer: str, currency: str) -> None:
    quantity(item.quantity, f"{pointer}/quantity")
    rate(item.tax_rate, f"{pointer}/tax_rate")
    price(item.unit_price, f"{pointer}/unit_price")
    if item.unit_price.currency != currency:
        raise MixedCurrencies("an order is in one currency", pointer=pointer)
