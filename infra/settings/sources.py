"""Where settings come from: the environment, then ``.env``; in each, ``NAME_FILE`` may lead to a secret ``NAME``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, PydanticBaseSettingsSource

from infra.settings.names import ENV_FILE, FILE, PREFIX, is_secret, known, name_of
from infra.settings.values import Misgiven

LONGEST_FILE: Final = 64 * 1024
"""Bytes of a secret in a file. Another file was meant where there are more."""


def outside(settings_cls: type[BaseSettings]) -> tuple[PydanticBaseSettingsSource, ...]:
    """What stands in the environment and in ``.env``, the first that counts first."""
    environment = EnvSettingsSource(settings_cls)
    # The variable itself can only be in the environment; relative to where the process was started.
    path = os.environ.get(ENV_FILE, ".env")
    try:
        dotenv = DotEnvSettingsSource(
            settings_cls, env_file=path or None, env_file_encoding="utf-8", dotenv_filtering="only_existing"
        )
    except (OSError, UnicodeError) as error:
        return Unread(settings_cls, path, _why(error)), Beside(settings_cls, environment.env_vars), environment
    if ENV_FILE in os.environ and path and not Path(path).expanduser().exists():
        return Unread(settings_cls, path, "there is no such file"), environment
    return (
        Beside(settings_cls, environment.env_vars),
        environment,
        Beside(settings_cls, dotenv.env_vars),
        dotenv,
    )


def written(settings_cls: type[BaseSettings]) -> dict[str, str]:
    """The settings that are given, as another process can be given them: by their variables, in words."""
    told: dict[str, Any] = {}
    for source in reversed(outside(settings_cls)):
        told |= source()
    fields = settings_cls.model_fields
    return {name_of(field, info): str(told[field]) for field, info in fields.items() if field in told}


class Beside(PydanticBaseSettingsSource):
    """What one place says beside the settings themselves: files that hold secrets, and names that nobody knows."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._variables = {name.upper(): value for name, value in variables.items() if value}

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        told = {field: self.get_field_value(info, field)[0] for field, info in fields.items()}
        unknown = {name for name in self._variables if name.startswith(PREFIX)} - {*known(fields)}
        return {field: value for field, value in told.items() if value is not None} | dict.fromkeys(unknown)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret that is in a file, if that is said."""
        name = name_of(field_name, field)
        path = self._variables.get(name + FILE) if is_secret(field.annotation) else None
        if path is None:
            return None, field_name, False
        if name in self._variables:
            return Misgiven(name + FILE, path, f"must not be given beside {name}"), field_name, False
        return _content(name + FILE, path), field_name, False


class Unread(PydanticBaseSettingsSource):
    """A file of settings that cannot be read."""

    def __init__(self, settings_cls: type[BaseSettings], path: str, why: str) -> None:
        super().__init__(settings_cls)
        self._fault = Misgiven(ENV_FILE, path, f"must be a file that can be read: {why}")

    def __call__(self) -> dict[str, Any]:
        return {ENV_FILE: self._fault}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Nothing: what is in the file is not known."""
        return None, field_name, False


def _content(name: str, path: str) -> str | Misgiven:
    """What the file holds, without the newline that editors and ``echo`` put at its end."""
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
        if len(content) > LONGEST_FILE:
            return Misgiven(name, path, f"must be a file of {LONGEST_FILE} bytes at most")
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeError) as error:
        return Misgiven(name, path, f"must be a file that can be read: {_why(error)}")
    return secret or Misgiven(name, path, "must be a file with the secret in it: it is empty")


def _why(error: OSError | UnicodeError) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not UTF-8"
