"""A disk whose power can be cut: a file system of its own, from which what was not synced vanishes.

`EXT4_IOC_SHUTDOWN` stops ext4 without writing its journal or any page: what the file system finds when it is mounted
again is what it would find after the power came back. What a disk itself keeps in a volatile cache is not modelled.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), linux/fs/ext4/ext4.h
_NO_LOG_FLUSH = 2
SIZE_BYTES = 16 << 30  # sparse; nats-server promises no more than there is room for


def why_not() -> str | None:
    """What is missing here for a `Disk`, None when nothing is."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install e2fsprogs mount"
    return None if Path("/dev/loop-control").exists() else "there are no loop devices"


class Disk:
    """Mounted at `path`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mounted"
        self._image = folder / "disk.img"

    def format(self) -> None:
        """An empty file system, not mounted."""
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        _run("mkfs.ext4", "-q", str(self._image))

    def mount(self) -> None:
        """As after a boot: the journal is replayed."""
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def unmount(self) -> None:
        """Whoever uses it must have ended."""
        _run("umount", str(self.path))

    def cut(self) -> None:
        """From now on nothing reaches the disk, and nothing that was on its way did."""
        mounted = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(mounted, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(mounted)


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A mounted disk; leaving unmounts it."""
    made = Disk(folder)
    made.format()
    made.mount()
    try:
        yield made
    finally:
        if os.path.ismount(made.path):
            made.unmount()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
