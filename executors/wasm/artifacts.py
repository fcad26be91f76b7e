"""The cache of compiled modules: written here only, named by what they came from and by their own digest."""

import asyncio
import hashlib
import os
import stat
import subprocess
import uuid
from pathlib import Path
from typing import NamedTuple

from bus.waiting import timeout
from executors.wasm.child import start_child
from executors.wasm.engine_settings import engine_fingerprint
from schemas.errors import Misconfigured, PackageInvalid

COMPILE_TIMEOUT_S = 120.0
REAP_TIMEOUT_S = 5.0
REFUSED = 2
MAX_COMPLAINT_BYTES = 2048


class _Form(NamedTuple):
    abi: str
    metered: bool


class ArtifactCache:
    """Artifacts under `folder`, as `<key>.<sha256 of the artifact>.aot`.

    The key covers module digest, ABI, metering and engine fingerprint. An artifact is native code: the folder must
    belong to this user alone, and a file that does not hash to its own name is thrown away and compiled again.
    """

    def __init__(self, folder: Path, *, compile_timeout_s: float = COMPILE_TIMEOUT_S) -> None:
        self._folder = folder.absolute()
        self._timeout_s = compile_timeout_s
        self._fingerprint = ""

    def open(self) -> None:
        """Create the folder, or check that nobody else can write to it; `Misconfigured` says how to fix it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = self._folder.stat()
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise Misconfigured(f"artifact cache {self._folder} is open to other users: chmod 700 and chown it")
        self._fingerprint = engine_fingerprint()

    def key(self, module_digest: str, abi: str, *, metered: bool) -> bytes:
        """32 bytes that name one compiled form of one module; `metered` code counts its fuel."""
        form = f"{module_digest}\n{abi}\n{metered}\n{self._fingerprint}"
        return hashlib.sha256(form.encode()).digest()

    async def get(self, module_digest: str, abi: str, wasm: bytes, *, metered: bool) -> Path:
        """The checked artifact of `wasm`, compiled at most once; `PackageInvalid` when it does not compile."""
        key = self.key(module_digest, abi, metered=metered).hex()
        found = await asyncio.to_thread(self._find, key)
        return found or await self._compile(key, _Form(abi, metered), wasm)

    def _find(self, key: str) -> Path | None:
        for path in sorted(self._folder.glob(f"{key}.*.aot")):
            if _digest(path) == path.name.split(".")[1]:
                return path
            path.unlink(missing_ok=True)
        return None

    async def _compile(self, key: str, form: "_Form", wasm: bytes) -> Path:
        draft = self._folder / f"{key}.{uuid.uuid4().hex}.draft"
        try:
            await self._run_compiler(form, draft, wasm)
            digest = await asyncio.to_thread(_digest, draft)
            return draft.rename(self._folder / f"{key}.{digest}.aot")
        finally:
            draft.unlink(missing_ok=True)

    async def _run_compiler(self, form: "_Form", draft: Path, wasm: bytes) -> None:
        child = await start_child(
            "executors.wasm.compiler", form.abi, str(int(form.metered)), str(draft),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            async with timeout(self._timeout_s):
                _, complaint = await child.communicate(wasm)
        except TimeoutError as error:
            raise PackageInvalid(f"the module did not compile within {self._timeout_s:g} s: make it smaller") from error
        finally:
            await _end(child)
        if child.returncode == REFUSED:
            reason = complaint[:MAX_COMPLAINT_BYTES].decode(errors="replace")
            raise PackageInvalid(f"the module was refused: {reason}")
        if child.returncode != 0:
            raise PackageInvalid(f"the compiler died with status {child.returncode}: the module is not fit to run")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()
    async with timeout(REAP_TIMEOUT_S):
        await child.wait()
