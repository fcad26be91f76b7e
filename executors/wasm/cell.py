"""A cell: the child process that holds the engine and runs guests. `python -m executors.wasm.cell <fd> <parent pid>`.

It answers frames one by one on a socket it inherits. It trusts the artifacts its parent names and nothing a guest does;
whatever goes wrong beyond a trap, the parent kills it and starts another.
"""

import re
import resource
import socket
import sys
import time
from typing import Protocol

import wasmtime

from executors.wasm.confine import confine
from executors.wasm.engine import new_engine
from executors.wasm.engine_settings import MIN_THREAD_STACK_BYTES, EngineKind, kind_of
from executors.wasm.frames import (
    LENGTH,
    Load,
    Reply,
    Run,
    Verdict,
    decode_request,
    encode_reply,
    frame_length,
)
from executors.wasm.guest import Guest, GuestFailed, OutputOverflow, StdioGuest
from executors.wasm.guest_component import ComponentGuest
from executors.wasm.guest_reactor import ReactorGuest
from executors.wasm.ticker import EpochTicker

MAX_MESSAGE_CHARS = 400
MAX_INSTANCES = 64
_GUESTS: dict[str, type[StdioGuest] | type[ReactorGuest] | type[ComponentGuest]] = {
    "stdio": StdioGuest,
    "reactor": ReactorGuest,
    "component": ComponentGuest,
}


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class Cell:
    """Loaded guests, and the engines they need: at most one of each kind."""

    def __init__(self) -> None:
        self._engines: dict[EngineKind, wasmtime.Engine] = {}
        self._ticker = EpochTicker()
        self._guests: dict[bytes, tuple[Guest, wasmtime.Engine]] = {}
        self._unfit: dict[bytes, bytes] = {}

    def serve(self, stream: _Readable, peer: socket.socket) -> None:
        """Say ready, then answer until the parent hangs up."""
        self._ticker.start()
        peer.sendall(encode_reply(Reply(Verdict.OK, b"ready")))
        while prefix := stream.read(LENGTH.size):
            request = decode_request(stream.read(frame_length(prefix)))
            peer.sendall(encode_reply(self._answer(request)))

    def _answer(self, request: Load | Run) -> Reply:
        if isinstance(request, Load):
            return self._load(request)
        loaded = self._guests.get(request.key)
        if loaded is None:
            return Reply(Verdict.NOT_LOADED, self._unfit.get(request.key, b"the parent did not load this package"))
        remaining_us = request.deadline_us - time.monotonic_ns() // 1000
        if remaining_us <= 0:
            return Reply(Verdict.EXPIRED, b"no WASM cell got free in time")
        if remaining_us < request.limits.timeout_us:
            request = request._replace(limits=request.limits._replace(timeout_us=remaining_us))
        return self._run(*loaded, request)

    def _load(self, request: Load) -> Reply:
        try:
            engine = self._engine(kind_of(request.abi, metered=request.metered))
            self._guests[request.key] = _GUESTS[request.abi](engine, request.path), engine
        except (wasmtime.WasmtimeError, OSError, ValueError) as error:
            self._unfit[request.key] = b"the compiled module does not load: " + _short(str(error))
        return Reply(Verdict.OK, b"")

    def _engine(self, kind: EngineKind) -> wasmtime.Engine:
        if kind not in self._engines:
            self._engines[kind] = new_engine(kind)
            self._ticker.watch(self._engines[kind])
        return self._engines[kind]

    def _run(self, guest: Guest, engine: wasmtime.Engine, request: Run) -> Reply:
        limits, used = request.limits, 0
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        store = wasmtime.Store(engine)
        try:
            store.set_limits(limits.memory_bytes, -1, MAX_INSTANCES, MAX_INSTANCES, 1)
            if limits.fuel:
                store.set_fuel(limits.fuel)
            self._ticker.arm(store, limits.timeout_us / 1e6)
            verdict, payload = _attempt(guest, store, request)
            if limits.fuel:
                used = limits.fuel - store.get_fuel()
        finally:
            self._ticker.disarm()
            store.close()
        wall_us, cpu_us = (time.perf_counter_ns() - wall) // 1000, (time.thread_time_ns() - cpu) // 1000
        return Reply(verdict, payload, used, wall_us, cpu_us)


def _attempt(guest: Guest, store: wasmtime.Store, request: Run) -> tuple[Verdict, bytes]:
    try:
        return Verdict.OK, guest.call(store, request.limits, request.payload)
    except OutputOverflow:
        return Verdict.OUTPUT_TOO_LARGE, f"wrote more than {request.limits.output_bytes} bytes".encode()
    except MemoryError:
        return Verdict.OUT_OF_MEMORY, b"could not allocate room for its input"
    except (GuestFailed, wasmtime.Trap, wasmtime.WasmtimeError) as error:
        return _classify(error, guest, store, request)


def _classify(error: Exception, guest: Guest, store: wasmtime.Store, request: Run) -> tuple[Verdict, bytes]:
    text = str(error)
    code = error.trap_code if isinstance(error, wasmtime.Trap) else None
    if code is wasmtime.TrapCode.INTERRUPT or "wasm trap: interrupt" in text:
        return Verdict.TIMEOUT, f"ran past its {request.limits.timeout_us / 1e6:g} s".encode()
    if code is wasmtime.TrapCode.OUT_OF_FUEL or "all fuel consumed" in text:
        return Verdict.TIMEOUT, f"used up its fuel of {request.limits.fuel}".encode()
    # The C API reports no refused memory.grow: a guest that fails after growing past half of its limit ran into it.
    if "memory limits" in text or guest.memory_grown(store) * 2 > request.limits.memory_bytes:
        return Verdict.OUT_OF_MEMORY, f"needs more than {request.limits.memory_bytes // 2**20} MiB".encode()
    return Verdict.TRAP, _short(text)


def _short(text: str) -> bytes:
    cause = re.search(r"wasm trap: .*", text)
    return (cause.group(0) if cause else text.strip())[:MAX_MESSAGE_CHARS].encode(errors="replace")


def main() -> None:
    """Serve the inherited socket until the parent closes it."""
    descriptor, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if stack != resource.RLIM_INFINITY and stack < MIN_THREAD_STACK_BYTES:
        raise SystemExit(f"stack limit of {stack} bytes is too small: set at least {MIN_THREAD_STACK_BYTES}")
    peer = socket.socket(fileno=descriptor)
    confine(parent_pid, writable=False)
    with peer, peer.makefile("rb", buffering=1 << 16) as stream:
        Cell().serve(stream, peer)


if __name__ == "__main__":
    main()
