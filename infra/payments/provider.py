"""The payment provider as we see it: one port, and what an attempt to give money back can come to."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol, TypeAlias

from domain.money import Money


@dataclass(frozen=True, kw_only=True)
class Refund:
    """All the money of one payment, to go back the way it came. ``refusals`` are those that were asked again."""

    payment_id: str
    amount: Money
    refusals: int = 0

    @property
    def key(self) -> str:
        """The idempotency key. It comes from the payment, so that no attempt, by whomever, is another refund.

        Only what a provider has definitely refused is asked for under another key.
        """
        digest = sha256(self.payment_id.encode()).hexdigest()
        return f"refund-{digest}-{self.refusals}" if self.refusals else f"refund-{digest}"


@dataclass(frozen=True, kw_only=True)
class Returned:
    """The money has gone back. ``reference`` is what the provider calls that."""

    reference: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The provider has said that it will not give this money back, however often it is asked."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """Nobody knows yet whether the money goes back: it has to be asked for again, under the same key.

    ``retry_after`` are the seconds that the provider asked for. ``alone`` says that this is about one refund, and tells
    nothing of how others would fare.
    """

    reason: str
    retry_after: float | None = None
    alone: bool = False


RefundOutcome: TypeAlias = Returned | Refused | Deferred


class PaymentProvider(Protocol):
    """Whoever holds the money of our customers."""

    async def refund(self, refund: Refund, *, deadline: float) -> RefundOutcome:
        """Asks for the money to go back, until ``deadline`` on the event loop's clock. The same refund goes back once.

        Never raises for what the provider or the network does. Nothing is asked for after the deadline.
        """
