"""The names of settings in the environment, and of what else of ours stands there."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

PREFIX: Final = "WEIR_"
FILE: Final = "_FILE"
ENV_FILE: Final = "WEIR_ENV_FILE"

OTHERS: Final[Mapping[str, str]] = {
    ENV_FILE: "Another file than `.env` to read settings from; empty reads none.",
    "WEIR_URL": "Where `weir import` finds the shop's API.",
    "WEIR_TOKEN": "The access token that `weir import` shows there.",
    "WEIR_API_KEY": "Or the API key.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Where traces go (OTLP over HTTP): `http://collector:4318`. Unset: none.",
    "OTEL_EXPORTER_OTLP_HEADERS": "What is sent along, as `authorization=Bearer …`.",
    "OTEL_SERVICE_NAME": "What traces name the process; unset, `weir-api`, `weir-relay` and so on.",
    "OTEL_TRACES_SAMPLER": "Which requests are recorded, as `parentbased_traceidratio`; unset, all.",
    "OTEL_TRACES_SAMPLER_ARG": "And what share of them, as `0.05`.",
    "WEIR_STACK": "The mark by which `weir up` knows its processes again; it sets this itself.",
    "WEIR_METRICS_DIR": "Where the processes of one `weir serve` tell their metrics as one; it sets this itself.",
}
"""What is not the settings' own, and what it is for. Only the environment is asked for these."""

Fields = Mapping[str, FieldInfo]


def name_of(field: str, info: FieldInfo) -> str:
    """The variable of a field: ``WEIR_PORT``, ``DATABASE_URL``."""
    if isinstance(info.validation_alias, AliasChoices):
        return str(info.validation_alias.choices[-1])
    return f"{PREFIX}{field.upper()}"


def is_secret(annotation: Any) -> bool:
    """Whether its value may not be shown; so it is for a server's URL, which may hold a password."""
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))


def known(fields: Fields) -> Iterator[str]:
    """All names that somebody reads."""
    for field, info in fields.items():
        yield name_of(field, info)
        if is_secret(info.annotation):
            yield name_of(field, info) + FILE
    yield from OTHERS


def nearest(name: str, fields: Fields) -> str | None:
    """The known name that is most like another."""
    return next(iter(get_close_matches(name, list(known(fields)), 1)), None)
