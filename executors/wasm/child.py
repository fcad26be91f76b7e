"""Start a confined child of this package's own code: empty environment, no inherited descriptors but the named ones."""

import asyncio
import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])


async def start_child(
    module: str, *arguments: str, stdin: int, stdout: int, stderr: int | None, pass_fds: tuple[int, ...] = ()
) -> asyncio.subprocess.Process:
    """Run `python -m module arguments... <our pid>`; the caller kills and reaps it."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-E", "-s", "-m", module, *arguments, str(os.getpid()),
        stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds, env={}, cwd=_ROOT, close_fds=True,
    )  # fmt: skip
