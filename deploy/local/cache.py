"""The folder of downloads, which several installations on a machine may share and fill at the same time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from fcntl import LOCK_EX, flock
from pathlib import Path


def installed(cache: Path, name: str, install: Callable[[Path], None]) -> Path:
    """Give the folder `name` of `cache`. Where it is missing, `install` makes it at the path that it is given.

    It is there whole or not at all, and made once: whoever comes meanwhile waits. The lock falls with its holder, so
    the wait is as long as `install` may take.
    """
    home = cache / name
    if home.is_dir():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not home.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as draft:
                target = Path(draft) / name
                install(target)
                target.replace(home)
    return home
