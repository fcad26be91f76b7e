"""A cell: the child process that holds the engine and runs guests. `python -m executors.wasm.cell <fd> <parent pid>`.

It answers frames one by one on a socket it inherits. It trusts the artifacts its parent names and nothing a guest does;
whatever goes wrong beyond a trap, the parent kills it and starts another.
"""

import resource
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

import wasmtime

from executors.wasm.confine import confine
from executors.wasm.engine import new_engine
from executors.wasm.engine_settings import MIN_THREAD_STACK_BYTES, EngineKind, kind_of
from executors.wasm.frames import CHUNK_BYTES, Frames, Load, Reply, Run, Verdict, decode_request, encode_reply
from executors.wasm.guest import Guest, StdioGuest
from executors.wasm.guest_component import ComponentGuest
from executors.wasm.guest_reactor import ReactorGuest
from executors.wasm.loaded import LoadedGuest, shortened
from executors.wasm.speech import Speech
from executors.wasm.ticker import EpochTicker

MAX_PREPARED = 4
"""Guests with an instance in advance: each may hold some MiB, and the pool has places for 16 in all."""


class Cell:
    """Loaded guests, and the engines they need: at most one of each kind."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._speech = Speech(peer)
        self._makers: dict[str, Callable[[wasmtime.Engine, str], Guest]] = {
            "stdio": StdioGuest,
            "reactor": partial(ReactorGuest, speech=self._speech),
            "component": ComponentGuest,
        }
        self._engines: dict[EngineKind, wasmtime.Engine] = {}
        self._ticker = EpochTicker()
        self._guests: dict[bytes, LoadedGuest] = {}
        self._prepared: dict[bytes, LoadedGuest] = {}
        self._unfit: dict[bytes, bytes] = {}

    def serve(self) -> None:
        """Say ready, then answer until the parent hangs up."""
        peer, speech = self._peer, self._speech
        self._ticker.start()
        peer.sendall(encode_reply(Reply(Verdict.OK, b"ready")))
        frames = Frames()
        while chunk := peer.recv(CHUNK_BYTES):
            frames.feed(chunk)
            while (body := frames.next()) is not None:
                request = decode_request(body)
                reply = encode_reply(self._answer(request))
                peer.sendall(speech.end() + reply)
                if isinstance(request, Run):
                    self._tidy(request, idle=not frames)

    def _answer(self, request: Load | Run) -> Reply:
        if isinstance(request, Load):
            return self._load(request)
        guest = self._guests.get(request.key)
        if guest is None:
            return Reply(Verdict.NOT_LOADED, self._unfit.get(request.key, b"the parent did not load this package"))
        remaining_us = request.deadline_us - time.monotonic_ns() // 1000
        if remaining_us <= 0:
            return Reply(Verdict.EXPIRED, b"no WASM cell got free in time")
        return guest.run(request, min(remaining_us, request.limits.timeout_us))

    def _tidy(self, request: Run, *, idle: bool) -> None:
        guest = self._guests.get(request.key)
        if guest is None:
            return
        guest.clear()
        if idle and guest.prepare(request.limits):
            self._prepared.pop(request.key, None)
            self._prepared[request.key] = guest
            if len(self._prepared) > MAX_PREPARED:
                self._prepared.pop(next(iter(self._prepared))).discard()

    def _load(self, request: Load) -> Reply:
        try:
            engine = self._engine(kind_of(request.abi, metered=request.metered))
            self._guests[request.key] = LoadedGuest(self._makers[request.abi](engine, request.path), self._ticker)
        except (wasmtime.WasmtimeError, OSError, ValueError) as error:
            self._unfit[request.key] = b"the compiled module does not load: " + shortened(str(error))
        return Reply(Verdict.OK, b"")

    def _engine(self, kind: EngineKind) -> wasmtime.Engine:
        if kind not in self._engines:
            self._engines[kind] = new_engine(kind)
            self._ticker.watch(self._engines[kind])
        return self._engines[kind]


def main() -> None:
    """Serve the inherited socket until the parent closes it."""
    descriptor, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if stack != resource.RLIM_INFINITY and stack < MIN_THREAD_STACK_BYTES:
        raise SystemExit(f"stack limit of {stack} bytes is too small: set at least {MIN_THREAD_STACK_BYTES}")
    peer = socket.socket(fileno=descriptor)
    confine(parent_pid, writable=False)
    with peer:
        Cell(peer).serve()


if __name__ == "__main__":
    main()
