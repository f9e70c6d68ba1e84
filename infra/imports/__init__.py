"""Imports as rows: the only truth about them. The storage holds bytes; how far it is stands here.

::

    uploading ──▶ waiting ──claim──▶ running ──▶ finished | failed
        │                              │  ▲
        └─▶ abandoned                  └──┘ each claim has an epoch of its own, and what is written under an older one
                                            changes nothing
"""

from infra.imports.cleanup import abandon_uploads, discard_files, forget_old
from infra.imports.import_table import (
    WORK,
    Checkpoint,
    Claimed,
    advance,
    claim,
    conclude,
    count,
    give_up,
)
from infra.imports.status import Seen, see
from infra.imports.upload_table import MEDIA, Media, NewImport, TooManyImports, begin, discard, file_of, uploaded

__all__ = [
    "MEDIA",
    "WORK",
    "Checkpoint",
    "Claimed",
    "Media",
    "NewImport",
    "Seen",
    "TooManyImports",
    "abandon_uploads",
    "advance",
    "begin",
    "claim",
    "conclude",
    "count",
    "discard",
    "discard_files",
    "file_of",
    "forget_old",
    "give_up",
    "see",
    "uploaded",
]
