"""Running a server as somebody else when we are root."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import LocalServerError

ORDINARY_USER = "nobody"
"""Exists on every Linux, so starting a development server adds no user to the machine."""
REFUGES = Path("/var/tmp")  # noqa: S108 - only root makes folders here, and `refuge` checks who owns them


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that a server runs as."""

    name: str
    uid: int
    gid: int
    is_other: bool

    @classmethod
    def of_servers(cls) -> Identity:
        """Give ourselves, or an ordinary user when we are root."""
        is_root = os.geteuid() == 0
        entry = pwd.getpwnam(ORDINARY_USER) if is_root else pwd.getpwuid(os.geteuid())
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, is_root)

    def prefix(self) -> tuple[str, ...]:
        """Give the words that, put before a command, run it as this user under the same pid."""
        if not self.is_other:
            return ()
        return ("/usr/bin/setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--")


def reachable(path: Path, identity: Identity) -> bool:
    """Tell whether another user may enter this folder: search permission on it and on every parent."""
    steps = [path.resolve(), *path.resolve().parents]
    return all(step.stat().st_mode & 0o001 or step.stat().st_uid == identity.uid for step in steps)


def refuge(folder: Path) -> Path:
    """Give root's folder that stands in for one that other users cannot enter; the same one each time."""
    home = _refuge_of(folder)
    home.mkdir(mode=0o755, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != 0:
        raise LocalServerError(f"{home} belongs to somebody else; delete it and start again")
    return home


def leave_refuge(folder: Path) -> None:
    """Delete the folder that `refuge` made for this one; none, or somebody else's, is left as it is."""
    home = _refuge_of(folder)
    if home.is_dir() and not home.is_symlink() and home.stat().st_uid == os.geteuid():
        shutil.rmtree(home)


def _refuge_of(folder: Path) -> Path:
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return REFUGES / f"aion-local-{digest}"
