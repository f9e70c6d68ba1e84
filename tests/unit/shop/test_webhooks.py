"""What a webhook may be: where it leads, what it tells of, and when it ends."""

from typing import Any
from uuid import UUID

import pytest

from domain.kernel.refusals import AlreadyExists, DoesNotExist, InvalidValue
from domain.webhooks import (
    LONGEST_URL,
    MOST_TYPES,
    WEBHOOK,
    WEBHOOKS,
    ActivateWebhook,
    ChangeWebhook,
    DeactivatedBy,
    DeactivateWebhook,
    DeleteWebhook,
    RegisterWebhook,
    RotateWebhookSecret,
    TooManyWebhooks,
    WebhookActivated,
    WebhookChanged,
    WebhookCommand,
    WebhookDeactivated,
    WebhookDeleted,
    WebhookRegistered,
    WebhookSecretRotated,
    destination,
    is_public,
)
from tests.support.spec import Spec

WEBHOOK_ID = UUID("01939d9e-0000-7000-8000-000000000011")
SECRET_ID = UUID("01939d9e-0000-7000-8000-000000000012")
ACCOUNT_ID = UUID("01939d9e-0000-7000-8000-000000000013")
URL = "https://hooks.example/orders?of=weir"
NAMES: dict[str, Any] = {"webhook_id": WEBHOOK_ID, "account_id": ACCOUNT_ID}

webhooks = Spec(WEBHOOKS)
REGISTERED = WebhookRegistered(
    url=URL, event_types=("order.paid", "order.shipped"), description="the warehouse", secret_id=SECRET_ID, **NAMES
)
DEACTIVATED = WebhookDeactivated(by=DeactivatedBy.OWNER, **NAMES)
DELETED = WebhookDeleted(**NAMES)


def register(**changes: Any) -> RegisterWebhook:
    given: dict[str, Any] = {
        "url": URL,
        "event_types": ("order.shipped", "order.paid", "order.paid"),
        "description": "the warehouse",
        "secret_id": SECRET_ID,
    }
    return RegisterWebhook(**NAMES, **given | changes)


def test_a_webhook_is_registered_with_its_types_in_order_and_once() -> None:
    webhooks.when(register()).then(REGISTERED)


def test_a_webhook_is_registered_once() -> None:
    webhooks.given(REGISTERED).when(register()).then_refused(AlreadyExists)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"url": "http://hooks.example/"}, "/url"),
        ({"event_types": ()}, "/event_types"),
        ({"event_types": tuple(f"order.{'a' * n}" for n in range(1, MOST_TYPES + 2))}, "/event_types"),
        ({"event_types": ("order.paid", "order paid")}, "/event_types/1"),
        ({"description": " "}, "/description"),
        ({"description": "a" * 501}, "/description"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(changes: dict[str, Any], pointer: str) -> None:
    webhooks.when(register(**changes)).then_refused(InvalidValue, pointer=pointer)


def test_what_is_left_out_of_a_change_stays() -> None:
    paid = WebhookChanged(url=URL, event_types=("order.paid",), description="the warehouse", **NAMES)
    webhooks.given(REGISTERED).when(ChangeWebhook(event_types=("order.paid",))).then(paid)
    webhooks.given(REGISTERED, paid).when(ChangeWebhook(event_types=("order.paid",))).then_nothing()
    silent = WebhookChanged(url=URL, event_types=("order.paid",), description=None, **NAMES)
    webhooks.given(REGISTERED, paid).when(ChangeWebhook(description=None)).then(silent)
    webhooks.given(REGISTERED).when(ChangeWebhook(url="http://a.example/")).then_refused(InvalidValue, pointer="/url")


def test_a_webhook_stops_and_goes_on() -> None:
    webhooks.given(REGISTERED).when(DeactivateWebhook()).then(DEACTIVATED)
    webhooks.given(REGISTERED, DEACTIVATED).when(DeactivateWebhook()).then_nothing()
    webhooks.given(REGISTERED, DEACTIVATED).when(ActivateWebhook()).then(WebhookActivated(**NAMES))
    webhooks.given(REGISTERED).when(ActivateWebhook()).then_nothing()


def test_an_address_that_is_gone_ends_no_webhook_that_leads_elsewhere_by_then() -> None:
    gone = DeactivateWebhook(by=DeactivatedBy.SUBSCRIBER, url=URL)
    ended = WebhookDeactivated(by=DeactivatedBy.SUBSCRIBER, **NAMES)
    moved = WebhookChanged(url="https://new.example/", event_types=("order.paid",), description=None, **NAMES)
    back = WebhookChanged(url=URL, event_types=("order.paid",), description=None, **NAMES)
    webhooks.given(REGISTERED).when(gone).then(ended)
    webhooks.given(REGISTERED, moved).when(gone).then_nothing()
    webhooks.given(REGISTERED, moved, back).when(gone).then(ended)


def test_each_rotation_gives_another_secret() -> None:
    other = UUID("01939d9e-0000-7000-8000-000000000014")
    rotated = WebhookSecretRotated(secret_id=other, **NAMES)
    webhooks.given(REGISTERED).when(RotateWebhookSecret(secret_id=other)).then(rotated)


@pytest.mark.parametrize(
    "command",
    [
        ChangeWebhook(),
        ActivateWebhook(),
        DeactivateWebhook(),
        RotateWebhookSecret(secret_id=SECRET_ID),
        DeleteWebhook(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_nothing_is_done_to_a_webhook_that_was_never_there_or_is_deleted(command: WebhookCommand) -> None:
    webhooks.when(command).then_refused(DoesNotExist)
    webhooks.given(REGISTERED, DELETED).when(command).then_refused(DoesNotExist)


def test_a_webhook_takes_up_a_share_until_it_is_deleted() -> None:
    (taken,) = WEBHOOKS.allowances(REGISTERED)
    (freed,) = WEBHOOKS.allowances(DELETED)
    assert (taken.scope, taken.owner, taken.released) == (WEBHOOK, ACCOUNT_ID, False)
    assert (freed.scope, freed.owner, freed.released) == (WEBHOOK, ACCOUNT_ID, True)
    assert taken.too_many is TooManyWebhooks
    assert WEBHOOKS.allowances(DEACTIVATED) == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example",
        "https://hooks.example:8443/a/b?c=d",
        "https://xn--bcher-kva.example/",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1::1]:443/",
    ],
)
def test_a_url_that_leads_into_the_internet_over_https_is_good(url: str) -> None:
    assert destination(url, anywhere=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "//hooks.example/",
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https:///orders",
        "https://ada:secret@hooks.example/",
        "https://@hooks.example/",
        "https://hooks.example/#top",
        "https://hooks.example/ a",
        "https://hooks.example\\@127.0.0.1/",
        "https://bücher.example/",
        "https://hooks.example:0/",
        "https://hooks.example:99999/",
        "https://hooks.example:a/",
        "https://-hooks.example/",
        "https://hooks..example/",
        "https://hooks_example/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://10.0.0.1./",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://hooks.example/\n",
        f"https://hooks.example/{'a' * LONGEST_URL}",
    ],
)
def test_a_url_that_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        destination(url, anywhere=False)
    assert refused.value.pointer == "/url"


@pytest.mark.parametrize("url", ["http://localhost:8080/", "http://127.0.0.1:1/", "https://10.0.0.1/"])
def test_in_development_a_url_may_lead_home(url: str) -> None:
    assert destination(url, anywhere=True) == url


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"],
)
def test_an_address_of_the_internet_may_be_connected_to(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"),
        *("192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::10.0.0.1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "fe80::1", "fe80::1%eth0", "fec0::1"),
        *("fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::1"),
        *("2001:0:808:808::f5ff:fffe", "2001:db8::1", "100::1"),
    ],
)
def test_an_address_that_is_not_of_the_internet_may_not(address: str) -> None:
    assert not is_public(address)
