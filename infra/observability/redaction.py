"""Redaction: the one list of what no log line, trace or report of an error may tell, whoever has written it there.

Three things are hidden: what a field of a telling name says, what has a telling form or stands behind a telling name in
a text (a message, a traceback, a record of a library), and the process's own secrets wherever they stand.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, quote, unquote
from uuid import UUID

from pydantic import BaseModel, SecretStr

from infra.host.several_hosts import split

HIDDEN: Final = "[hidden]"
SHORTEST: Final = 8
"""A secret of fewer letters is not looked for as such: it may be a word, and what is in a URL or behind a name is
found by that."""
DEEPEST: Final = 16

_WORDS: Final = (
    r"passw(?:or)?d|passphrase|passwd|pwd|secret|token|authorization|cookie|api[_-]?key|access[_-]?key|"
    r"encryption[_-]?key|private[_-]?key|service[_-]?key|credential|signature|dsn"
)
_TELLING: Final = re.compile(rf"(?:{_WORDS}|recipient|e?mail(?:[_-]?address)?)s?", re.IGNORECASE)
"""How the name of a field ends whose value is hidden."""


class Rule(NamedTuple):
    """A form in which secrets stand in texts. One of its ``signs`` is in every such text, and quicker to look for."""

    name: str
    signs: tuple[str, ...]
    form: "re.Pattern[str]"
    instead: str = HIDDEN


_BEHIND: Final = r"\\{0,4}['\"]?\s{0,3}(?:[:=]|,(?=\s{0,3}b?['\"]))\s{0,3}"
"""Between a name and its value: in headers, assignments, JSON, a repr of pairs."""
_ASSIGNED: Final = ("=", ":", ",")

QUOTED: Final = Rule(
    "value that Postgres quotes",
    ("Failing row", "Key (", "invalid input "),
    re.compile(
        r"(Failing row contains )(?:\((?s:.{0,16000}?)\)\.(?!\S)|[^\n]*)"
        r"|(Key \([^\n=]{1,200}\)=)\((?:[^\n]*\)|[^\n]*)"
        r"|(invalid input (?:for query argument|syntax for) [^:\n]{1,80}: )[^\n]*"
    ),
    rf"\1\2\3{HIDDEN}",
)
"""Of a row that a constraint refuses, or an argument that the server or the driver cannot read: who is written there
has not agreed to be in a log."""

# Each form is bounded in how far it looks from any place: the texts are those of strangers, too.
RULES: Final[tuple[Rule, ...]] = (
    QUOTED,
    Rule(
        "private key",
        ("PRIVATE KEY",),
        re.compile(r"-----BEGIN[A-Z ]{1,20}PRIVATE KEY-----[^-]*(?:-----END[A-Z ]{1,20}-----)?"),
    ),
    Rule("userinfo of a URL", ("://",), re.compile(r"(?<=://)[^\s/?#\"'<>]{1,512}@"), f"{HIDDEN}@"),
    Rule(
        "header to its end",
        ("uthorization", "ookie", "UTHORIZATION", "OOKIE"),
        re.compile(rf"((?:authorization|cookie){_BEHIND})[^\r\n]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    Rule(
        "scheme of authorization",
        ("earer ", "asic ", "EARER ", "ASIC "),
        re.compile(r"\b(bearer|basic)\s{1,3}[\w+/=.~-]{6,}", re.IGNORECASE),
        rf"\1 {HIDDEN}",
    ),
    Rule(
        "value behind a name",
        _ASSIGNED,
        re.compile(
            rf"((?:{_WORDS})[\w-]{{0,16}}{_BEHIND}b?)(?!\[hidden)"
            r"(?:SecretStr\()?\\{0,4}(?:\"(?:[^\"\\]|\\++.)*+\"?|'(?:[^'\\]|\\++.)*+'?|[^\s,;&)}\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    Rule(
        "parameter of a signed URL",
        ("=",),
        re.compile(
            r"([?&][\w.-]{0,40}(?:key|sig|code|auth|hmac|policy)[\w-]{0,16}=)(?!\[hidden)[^&\s\"'<>#]+", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
    Rule("signed token", ("eyJ",), re.compile(r"(?<![\w-])eyJ[\w-]{4,}(?:\.[\w-]*){0,4}")),
    Rule("secret of webhooks", ("whsec_",), re.compile(r"whsec_[\w+/=-]+")),
    Rule("API key", ("weir_",), re.compile(r"(weir_[0-9A-Za-z]{22})_[0-9A-Za-z]{40,}"), rf"\1_{HIDDEN}"),
    Rule("padded base64", ("=",), re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{22,}={1,2}(?![\w=])")),
    Rule(
        "random text",
        (),
        re.compile(
            r"(?<![\w-])(?=[\w-]{40})(?=[\w-]{0,80}\d)(?=[\w-]{0,80}[a-z])(?=[\w-]{0,80}[A-Z])[\w-]{40,}(?![\w-])"
        ),
    ),
    Rule(
        "address of a mailbox",
        ("@",),
        re.compile(r"[^\s@<>\"'(),:;/\[\]]{1,64}@(?=[\w-]{1,63}\.[\w-])"),
        f"{HIDDEN}@",
    ),
)
_PLAIN: Final = re.compile(r"[a-z0-9._/-]{0,120}")
"""What has no telling form: nothing stands behind a name, and a random text of small letters alone is an id."""


class Redactor:
    """Hides what may not be told. ``secrets`` are hidden wherever they stand, in whatever a URL makes of them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        whole = {secret for secret in secrets if len(secret) >= SHORTEST}
        forms = {form for secret in whole for form in (secret, quote(secret), quote(secret, safe=""), unquote(secret))}
        longest_first = sorted(forms, key=len, reverse=True)
        self._own = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """The text without its secrets."""
        if self._own is not None:
            text = self._own.sub(HIDDEN, text)
        if _PLAIN.fullmatch(text):
            return text
        for rule in RULES:
            if not rule.signs or any(sign in text for sign in rule.signs):
                text = rule.form.sub(rule.instead, text)
        return text

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a line, each as it may be told."""
        return self._fields(fields, 0)

    def _fields(self, fields: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        return {
            name: HIDDEN if value is not None and is_telling(str(name)) else self._value(value, depth)
            for name, value in fields.items()
        }

    def _value(self, value: Any, depth: int) -> Any:
        """What is neither plain nor a collection is told by its repr, and that is a text like any other."""
        if value is None or isinstance(value, bool | int | float | UUID | datetime):
            return value
        if isinstance(value, str):
            return self.text(value)
        if depth < DEEPEST and isinstance(value, Mapping):
            return self._fields(value, depth + 1)
        if depth < DEEPEST and isinstance(value, list | tuple | set | frozenset):
            return [self._value(each, depth + 1) for each in value]
        return self.text(repr(value))


def is_telling(name: str) -> bool:
    """Whether a field of that name holds what may not be told."""
    found = _names.get(name)
    if found is None:
        last = [*_TELLING.finditer(name)][-1:]
        found = bool(last) and last[0].end() == len(name)
        if len(_names) < 1_000:
            _names[name] = found
    return found


_names: Final[dict[str, bool]] = {}
"""Lines have the same few names all the time."""


def secrets_of(model: BaseModel) -> frozenset[str]:
    """The secrets in settings: of a URL its passwords, of everything else all of it."""
    values = (value for name in type(model).model_fields for value in _each(getattr(model, name)))
    return frozenset(filter(None, (secret for value in values for secret in _secrets_in(value.get_secret_value()))))


def _each(value: Any) -> Iterator[SecretStr]:
    if isinstance(value, SecretStr):
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _each(each)


def _secrets_in(text: str) -> Sequence[str | None]:
    if "://" not in text:
        return [text]
    try:
        parts = split(text)
        return [parts.password, *parse_qs(parts.query).get("sentinel_password", ())]
    except ValueError:
        return [text]
