"""What parent and cell say to each other: length-prefixed frames with fixed binary headers.

    frame  = length u32 | body
    load   = 0x01 | abi u8 | key 32 bytes | metered u8 | artifact path (UTF-8)
    run    = 0x02 | abi u8 | key 32 bytes | deadline us u64 | timeout us u64 | memory bytes u64 | output bytes u32
             | fuel u64 | input
    reply  = verdict u8 | fuel used u64 | wall us u64 | cpu us u64 | output, or a message when the verdict is not OK

A reply whose verdict is SAID answers nothing: it holds what the guest that runs has said meanwhile.

All integers are big-endian; a deadline is on the monotonic clock. A cell answers frames one by one, in order.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

CHUNK_BYTES = 1 << 16
MAX_FRAME_BYTES = 32 * 1024 * 1024
LENGTH = struct.Struct("!I")
_KIND = struct.Struct("!BB32s")
_RUN_HEAD = struct.Struct("!QQQIQ")
_REPLY = struct.Struct("!BQQQ")
_LOAD, _RUN = 1, 2
_ABIS = ("stdio", "reactor", "component")


class FrameError(ValueError):
    """A frame that no peer of ours would send."""


class Verdict(IntEnum):
    """How a request ended in the cell."""

    OK = 0
    TRAP = 1
    TIMEOUT = 2
    OUT_OF_MEMORY = 3
    OUTPUT_TOO_LARGE = 4
    NOT_LOADED = 5
    EXPIRED = 6
    SAID = 7


class Limits(NamedTuple):
    """What one call may use; `fuel` 0 means unmetered."""

    timeout_us: int
    memory_bytes: int
    output_bytes: int
    fuel: int = 0


class Load(NamedTuple):
    """Make the artifact at `path` callable as `key`; `metered` says which engine it was compiled for."""

    abi: str
    key: bytes
    metered: bool
    path: str


class Run(NamedTuple):
    """Call the loaded module `key` once in a fresh instance, unless `deadline_us` has passed by then."""

    abi: str
    key: bytes
    deadline_us: int
    limits: Limits
    payload: bytes


class Reply(NamedTuple):
    """A cell's answer to one frame."""

    verdict: Verdict
    payload: bytes
    fuel_used: int = 0
    wall_us: int = 0
    cpu_us: int = 0


def encode_request(request: Load | Run) -> bytes:
    """The whole frame, length included."""
    if isinstance(request, Load):
        body = (
            _KIND.pack(_LOAD, _ABIS.index(request.abi), request.key) + bytes([request.metered]) + request.path.encode()
        )
    else:
        limits = request.limits
        body = b"".join(
            (
                _KIND.pack(_RUN, _ABIS.index(request.abi), request.key),
                _RUN_HEAD.pack(request.deadline_us, *limits),
                request.payload,
            )
        )
    return _framed(body)


def decode_request(body: bytes) -> Load | Run:
    """The request in a frame's body, or `FrameError`."""
    try:
        kind, abi, key = _KIND.unpack_from(body)
        if kind == _LOAD:
            rest = body[_KIND.size :]
            return Load(_ABIS[abi], key, bool(rest[0]), rest[1:].decode())
        if kind == _RUN:
            deadline_us, *limits = _RUN_HEAD.unpack_from(body, _KIND.size)
            return Run(_ABIS[abi], key, deadline_us, Limits(*limits), body[_KIND.size + _RUN_HEAD.size :])
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise FrameError(f"malformed request of {len(body)} bytes") from error
    raise FrameError(f"unknown request kind {kind}")


def encode_reply(reply: Reply) -> bytes:
    """The whole frame, length included."""
    return _framed(_REPLY.pack(reply.verdict, reply.fuel_used, reply.wall_us, reply.cpu_us) + reply.payload)


def decode_reply(body: bytes) -> Reply:
    """The reply in a frame's body, or `FrameError`."""
    try:
        verdict, fuel_used, wall_us, cpu_us = _REPLY.unpack_from(body)
        return Reply(Verdict(verdict), body[_REPLY.size :], fuel_used, wall_us, cpu_us)
    except (struct.error, ValueError) as error:
        raise FrameError(f"malformed reply of {len(body)} bytes") from error


class Frames:
    """Cuts what a socket brings into bodies, oldest first. True while it holds anything."""

    def __init__(self) -> None:
        self._received = bytearray()

    def __len__(self) -> int:
        """Bytes fed and not cut yet."""
        return len(self._received)

    def feed(self, chunk: bytes) -> None:
        """Add what was received."""
        self._received += chunk

    def next(self) -> bytes | None:
        """The next whole body, None until more is fed; `FrameError` for a length over `MAX_FRAME_BYTES`."""
        received = self._received
        if len(received) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(received)
        if length > MAX_FRAME_BYTES:
            raise FrameError(f"frame of {length} bytes is over the {MAX_FRAME_BYTES} allowed")
        end = LENGTH.size + length
        if len(received) < end:
            return None
        body = bytes(received[LENGTH.size : end])
        del received[:end]
        return body


def _framed(body: bytes) -> bytes:
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"frame of {len(body)} bytes is over the {MAX_FRAME_BYTES} allowed")
    return LENGTH.pack(len(body)) + body
