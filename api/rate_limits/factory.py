"""The gates as a process opens them: its own meters, settled with those of the others, and the throttle of all."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from api.http.route_table import LimitPolicy
from api.rate_limits.identifiers import email_in_json, name_in_form
from api.rate_limits.local_policy import CountedHere
from api.rate_limits.shared_policy import CountedTogether, Errands, Logins
from infra.identity.server_secret import ServerSecret
from infra.rate_limits.local_limiter import Meter, Settlement
from infra.rate_limits.redis_limiter import Throttle
from infra.redis.keyspace import Keyspace
from infra.settings import Settings

Gates = Mapping[str, LimitPolicy]
"""By class; a class without one is not limited."""


async def open_gates(stack: AsyncExitStack, settings: Settings, keys: Keyspace, secret: ServerSecret) -> Gates:
    """Open until the stack is closed; none if limits are turned off.

    What stands for a subject in Redis is derived here and kept, so that nothing is asked of Postgres later on.
    """
    if settings.rate_limits == "off":
        return {}
    subjects = await secret.mac(b"rate-limits", b"")
    throttle = await stack.enter_async_context(Throttle(settings.redis_url, keys, secret=subjects).running())
    errands = Errands()
    stack.push_async_callback(errands.close)
    meters = _meters(settings)
    await stack.enter_async_context(Settlement(throttle, list(meters.values())).running())
    return {**_here(meters), **_together(settings, throttle, errands)}


def _meters(settings: Settings) -> dict[str, Meter]:
    rates = {
        "password": settings.limit_password,
        "token": settings.limit_token,
        "write": settings.limit_write,
        "upload": settings.limit_upload,
        "read": settings.limit_read,
        "browse": settings.limit_browse,
        "public": settings.limit_public,
        "hook": settings.limit_hook,
        "strangers": settings.limit_read,
    }
    return {policy: Meter(policy, rate) for policy, rate in rates.items()}


def _here(meters: Mapping[str, Meter]) -> Gates:
    strangers = meters["strangers"]
    callers = {name: CountedHere(meter=meters[name], strangers=strangers) for name in ("write", "upload", "read")}
    sources = {name: CountedHere(meter=meters[name]) for name in ("token", "browse", "public", "hook")}
    password = CountedHere(meter=meters["password"], strangers=strangers, failures=True)
    return {**callers, **sources, "password": password}


def _together(settings: Settings, throttle: Throttle, errands: Errands) -> Gates:
    login = Logins(
        throttle=throttle,
        errands=errands,
        source=settings.limit_login,
        pair=settings.limit_login_pair,
        name=settings.limit_login_name,
        read=name_in_form,
    )
    mail = {"mail": settings.limit_mail, "mail-address": settings.limit_mail_address}
    return {
        "login": login,
        "register": CountedTogether(throttle=throttle, rates={"register": settings.limit_register}),
        "mail": CountedTogether(throttle=throttle, rates=mail, read=email_in_json),
    }
