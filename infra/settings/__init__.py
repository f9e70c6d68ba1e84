"""All configuration, read once when a process starts.

::

    environment ─▶ .env          the first that says something counts; in each, NAME_FILE stands for a secret's NAME
         └──────────┴─▶ Settings ─▶ infra/configs.py: what each part needs of them
                            └─▶ ValidationError ─▶ one row for each setting that is wrong, and no traceback

The server URLs carry no prefix; everything else is ``WEIR_*``. ``docs/settings.md`` lists them, made from the class.
"""

import os

from infra.settings.model import DRAIN_SECONDS, Settings
from infra.settings.names import ENV_FILE, known
from infra.settings.process import Process, insisting, settings_of
from infra.settings.sources import written

__all__ = ["DRAIN_SECONDS", "Process", "Settings", "environment", "insisting", "settings_of"]


def environment() -> dict[str, str]:
    """This process's environment for another one, wherever that is started: with what ``.env`` and files of secrets say
    in place of where they are.
    """
    others = {name: value for name, value in os.environ.items() if name.upper() not in {*known(Settings.model_fields)}}
    return {**others, **written(Settings), ENV_FILE: ""}
