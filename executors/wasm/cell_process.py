"""The parent's side of one cell: a process, its socket, and which packages it has loaded."""

import asyncio
import contextlib
import socket
import subprocess
import time

from executors.wasm.child import start_child
from executors.wasm.frames import (
    LENGTH,
    FrameError,
    Limits,
    Load,
    Reply,
    Run,
    Verdict,
    decode_reply,
    encode_request,
    frame_length,
)
from schemas.errors import ModuleTimeout, ModuleTrap, PackageInvalid, Unavailable

SPAWN_TIMEOUT_S = 20.0
LOAD_TIMEOUT_S = 20.0
REAP_TIMEOUT_S = 5.0
WATCHDOG_GRACE_S = 0.05
STREAM_BUFFER_BYTES = 1 << 18


class CellProcess:
    """A live cell. After any exception out of `run` it is of no more use: `kill` it, then `reap` it."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._loaded: set[bytes] = set()
        self._ready = False

    @classmethod
    async def spawn(cls) -> "CellProcess":
        """Start a cell and wait until it is ready; `Unavailable` when it is not in time."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await start_child(
                    "executors.wasm.cell", str(theirs.fileno()),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=None, pass_fds=(theirs.fileno(),),
                )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        reader, writer = await asyncio.open_connection(sock=ours, limit=STREAM_BUFFER_BYTES)  # no I/O: connected
        cell = cls(process, reader, writer)
        try:
            async with asyncio.timeout(SPAWN_TIMEOUT_S):
                await cell._read_reply()
        except (TimeoutError, OSError, EOFError, FrameError) as error:
            raise Unavailable(f"a WASM cell did not start within {SPAWN_TIMEOUT_S:g} s") from error
        finally:
            if not cell._ready:
                cell.kill()
                await cell.reap()
        return cell

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once it is known to have died, for instance while it was idle."""
        return self._process.returncode is None and not self._reader.at_eof() and not self._writer.is_closing()

    async def run(self, abi: str, key: bytes, artifact: str, limits: Limits, payload: bytes) -> Reply:
        """One call; `ModuleTimeout` when nothing came back `WATCHDOG_GRACE_S` after the guest's deadline."""
        if key not in self._loaded:
            await self._load(Load(abi, key, limits.fuel > 0, artifact))
        timeout_s = limits.timeout_us / 1e6
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s + WATCHDOG_GRACE_S):
                return await self._ask(Run(abi, key, limits, payload))
        except TimeoutError as error:
            passed = time.monotonic() - started
            raise ModuleTimeout(
                f"module slept in its host past its {timeout_s:g} s; stopped at {passed:.3f} s"
            ) from error
        except (OSError, EOFError, FrameError) as error:
            raise ModuleTrap(f"the module's cell died: {await self._cause_of_death()}") from error

    async def _load(self, request: Load) -> None:
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                reply = await self._ask(request)
        except (TimeoutError, OSError, EOFError, FrameError) as error:
            raise Unavailable(f"a WASM cell died while loading: {await self._cause_of_death()}") from error
        if reply.verdict is not Verdict.OK:
            raise PackageInvalid(f"the compiled module does not load: {reply.payload.decode(errors='replace')}")
        self._loaded.add(request.key)

    async def _ask(self, request: Load | Run) -> Reply:
        self._writer.write(encode_request(request))
        await self._writer.drain()
        return await self._read_reply()

    async def _read_reply(self) -> Reply:
        length = frame_length(await self._reader.readexactly(LENGTH.size))
        reply = decode_reply(await self._reader.readexactly(length))
        self._ready = True
        return reply

    async def _cause_of_death(self) -> str:
        with contextlib.suppress(TimeoutError):  # it hung up just now: let it say how it ended
            async with asyncio.timeout(WATCHDOG_GRACE_S):
                await self._process.wait()
        self.kill()
        await self.reap()
        status = self._process.returncode
        return f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"

    def kill(self) -> None:
        """End it now. Safe at any time and more than once."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._writer.close()

    async def reap(self) -> None:
        """Collect the killed process and close its socket."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(REAP_TIMEOUT_S):
                await self._process.wait()
                await self._writer.wait_closed()
