"""What is asked of webhooks, and what registering one answers."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from api.schemas import Body, Changes, ReceiptDocument
from domain.public_events import PUBLIC
from domain.webhooks import LONGEST_DESCRIPTION, LONGEST_URL


def _known_type(name: str) -> str:
    if name not in PUBLIC:
        raise PydanticCustomError("unknown_event_type", "There is no such type of event.")
    return name


EventTypeName = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": sorted(PUBLIC)})]
EventTypes = Annotated[list[EventTypeName], Field(min_length=1, max_length=len(PUBLIC))]
Url = Annotated[str, Field(max_length=LONGEST_URL, json_schema_extra={"format": "uri"})]
Description = Annotated[str, Field(min_length=1, max_length=LONGEST_DESCRIPTION)]


class RegisterWebhookBody(Body):
    """An address that is to be told of events."""

    url: Url
    """Where to send them: `https://`, of the Internet, without a name, a password or a fragment."""
    event_types: EventTypes
    """Which events to send."""
    description: Description | None = None
    """What it is for, at most 500 characters: only you read it."""


class WebhookChanges(Changes):
    """What is to change; a field that is left out stays as it is."""

    url: Url = ""
    """Another address."""
    event_types: EventTypes = Field(default_factory=list)
    """The events to send from now on, all of them."""
    description: Description | None = None
    """What it is for; null for nothing."""
    active: bool = True
    """False: nothing is sent any more, nor what is still owed. True: what happens from now on is sent."""


class WebhookReceipt(ReceiptDocument):
    """The receipt of a webhook, with the secret that it is signed with."""

    model_config = ConfigDict(title="WebhookReceipt")

    secret: str | None
    """What checks the signatures (Standard Webhooks). It is shown this once: a repeated request gets null."""
