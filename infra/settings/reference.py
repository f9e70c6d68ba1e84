"""The settings as a page for readers and as a file to begin with, both made from the class."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.settings.model import Settings
from infra.settings.names import FILE, OTHERS, is_secret, name_of
from infra.settings.urls import masked, place_of
from infra.settings.values import Form, Unit

SECTIONS: Final = {
    "environment": "Development or production",
    "database_url": "Servers",
    "host": "Process and network",
    "encryption_keys": "Secrets and accounts",
    "payment_webhook_secret": "Orders and payments",
    "webhook_destinations": "Webhooks",
    "smtp_url": "Mail",
    "data_dir": "Files",
    "rate_limits": "Rate limits",
    "cache_seconds": "Caches, streams and leases",
}
"""The first field of each section, and its heading."""

_COUNTED: Final = ("seconds", "minutes", "days", "bytes")

HEAD: Final = """\
# Settings

<!-- Made by `make settings` from infra/settings/model.py: change the text there. -->

Every process reads its settings when it starts. The first of these that says something counts:

1. the environment, where an empty value says nothing;
2. the file `.env` in the folder in which the process is started, if there is one. `WEIR_ENV_FILE` names another; an
   empty one has none read. `.env.example` is one to begin with.

**Secrets from files.** A secret's name with `_FILE` behind it names a file that holds it, as Docker and Kubernetes
mount them: `WEIR_ENCRYPTION_KEYS_FILE=/run/secrets/weir-keys`. The newline at its end is not part of it. So it is for
the URLs of servers, which may hold a password. Both at once is an error.

A setting that is wrong, and a `WEIR_*` that nobody knows, ends the process before it does anything, with exit code 2
and a line for each on stderr: what was given, without secrets, and what is needed. `weir settings` shows those in
effect. In Kubernetes set `enableServiceLinks: false`, or call no Service `weir`: it would put names such as
`WEIR_SERVICE_HOST` into the environment.
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A setting as a reader sees it."""

    field: str
    name: str
    default: str
    unit: str
    form: str
    secret: bool
    meaning: str


def entries() -> dict[str, list[Entry]]:
    """All settings, in the order of the class, by heading."""
    sections: dict[str, list[Entry]] = {}
    for field, info in Settings.model_fields.items():
        if field in SECTIONS:
            section = sections[SECTIONS[field]] = []
        section.append(_entry(field, info))
    return sections


def form_of(field: str) -> str:
    """What a value of the field must be, in words that go on behind *must be*."""
    info = Settings.model_fields[field]
    if said := next(_forms((*info.metadata, info.annotation)), None):
        return said.text
    if get_origin(info.annotation) is Literal:
        return " or ".join(map(str, get_args(info.annotation)))
    kinds = (info.annotation, *get_args(info.annotation))
    return next(words for kind, words in _FORMS.items() if kind in kinds) + _bounds(info)


def _forms(parts: Iterable[Any]) -> Iterator[Form]:
    """Those that an annotation carries, however deep."""
    for part in parts:
        if isinstance(part, Form):
            yield part
        else:
            yield from _forms(get_args(part))


_FORMS: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a folder",
    SecretStr: "text",
}


def shown(settings: Settings, field: str) -> str:
    """The value of a field, as it may be shown."""
    value = getattr(settings, field)
    if value in (None, ()):
        return ""
    if not is_secret(Settings.model_fields[field].annotation):
        return masked(_written(value))
    return place_of(value.get_secret_value()) or "set" if isinstance(value, SecretStr) else "set"


def markdown() -> str:
    """The reference page."""
    return "\n".join((HEAD, *_tables(), *_others())) + "\n"


def example() -> str:
    """A ``.env`` in which every setting stands by its default, none of them set."""
    lines = [
        "# Made by `make settings`: see docs/settings.md. Copy it to .env, and take away the # where you want another."
    ]
    for heading, section in entries().items():
        lines += ["", f"# --- {heading}"]
        for entry in section:
            lines += [f"# {entry.meaning}".replace("`", ""), f"#{entry.name}={entry.default}"]
    return "\n".join(lines) + "\n"


def _tables() -> Iterator[str]:
    for heading, section in entries().items():
        yield f"## {heading}\n"
        yield "| name | default | unit | must be | meaning |\n|---|---|---|---|---|"
        for entry in section:
            secret = " **Secret.**" if entry.secret else ""
            default = f"`{entry.default}`" if entry.default else ""
            cells = (
                f"`{entry.name}`",
                default,
                entry.unit,
                entry.form.replace("|", "\\|").replace("<", "\\<"),
                entry.meaning + secret,
            )
            yield f"| {' | '.join(cells)} |"
        yield ""


def _others() -> Iterator[str]:
    yield f"## What is read from the environment alone\n\nThese have no `{FILE}`, and do not count in `.env`.\n"
    yield "| name | meaning |\n|---|---|"
    for name, meaning in OTHERS.items():
        yield f"| `{name}` | {meaning} |"


def _entry(field: str, info: FieldInfo) -> Entry:
    return Entry(
        field=field,
        name=name_of(field, info),
        default=_written(info.default),
        unit=next((each.text for each in info.metadata if isinstance(each, Unit)), _unit_in(field)),
        form=form_of(field),
        secret=is_secret(info.annotation),
        meaning=info.description or "",
    )


def _unit_in(field: str) -> str:
    last = field.rpartition("_")[2]
    return last if last in _COUNTED else ""


def _written(default: Any) -> str:
    """As one would write it in the environment."""
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case tuple():
            return ",".join(map(str, default))
        case SecretStr():
            return default.get_secret_value()
    return str(default)


def _bounds(info: FieldInfo) -> str:
    bounds = {name: getattr(each, name) for each in info.metadata for name in ("ge", "gt", "le") if hasattr(each, name)}
    match bounds:
        case {"ge": least, "le": most}:
            return f" from {least} to {most}"
        case {"gt": below, "le": most}:
            return f" above {below} and up to {most}"
        case {"ge": least}:
            return f" from {least} on"
    return ""
