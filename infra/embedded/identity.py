"""The user that a server runs as: the caller, or, when the caller is root, an unprivileged user that exists already."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A user to become before exec. Its supplementary groups are dropped."""

    uid: int
    gid: int


class ForeignDirectory(Exception):
    """The directory belongs to another user, so no server can be run in it."""


def identity_for(home: Path) -> Identity | None:
    """Whom to become to run a server in ``home``; ``None`` to stay who we are.

    Root becomes the owner of the directory, or ``nobody`` where that is root itself or there is no directory yet.
    Raises ForeignDirectory where an ordinary user meets somebody else's directory.
    """
    owner = home.stat() if home.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise ForeignDirectory(f"{home} belongs to uid {owner.st_uid}: start as that user, or as root")
        return None
    if owner is not None and owner.st_uid != 0:
        return Identity(uid=owner.st_uid, gid=owner.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Identity(uid=nobody.pw_uid, gid=nobody.pw_gid)


def private_home(home: Path) -> Identity | None:
    """Make ``home`` a directory that only its server's user can enter. Returns whom that server has to become."""
    identity = identity_for(home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    give(identity, home)
    return identity


def give(identity: Identity | None, *paths: Path) -> None:
    """Make the paths that user's own; nothing to do where we are that user."""
    if identity is not None:
        for path in paths:
            os.chown(path, identity.uid, identity.gid)
