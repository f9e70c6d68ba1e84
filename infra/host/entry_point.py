"""How a process ends that cannot do what it was started for: with words on stderr, and no traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from infra.errors import AWAY, NoEncryptionKey, UnknownSchema

WRONG_SETTINGS: Final = 2
"""As command lines end that were given a wrong option."""


class CannotListen(Exception):
    """The address that the process should listen on is not to be had; somebody else may have it."""


class DoesNotFit(Exception):
    """A server takes less than what the process is set to ask of it."""


NO_START: Final = (*AWAY, UnknownSchema, NoEncryptionKey, CannotListen, DoesNotFit)
"""What keeps a process from starting and is nobody's mistake in the program: its words say all that there is to say."""


@contextmanager
def entry_point() -> Iterator[None]:
    """Every entry point's work is in such a block: wrong settings end it with 2, a server that it needs with 1."""
    try:
        yield
    except ValueError as error:
        from infra.settings.report import faults_of, show  # settings take long to load, and mostly nothing is wrong

        faults = faults_of(error)
        if faults is None:
            raise
        show(faults, sys.stderr)
        raise SystemExit(WRONG_SETTINGS) from None
    except NO_START as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
