"""The two wires of a task's stream as a client reads them byte by byte: pure, so that the reader decides how fast."""

import base64
import json
import os
import struct
from typing import Any, Protocol

_NO_MASK = b"\0\0\0\0"
"""A mask that changes nothing; a client must send one."""


class Reading(Protocol):
    """What one connection has brought so far."""

    text: str
    """Of the task, by `partial` and `token`."""
    last_id: str
    done: bool
    answers: bytearray
    """What is to be sent back and then cleared."""

    def request(self) -> bytes:
        """What to send first."""
        ...

    def feed(self, data: bytes) -> None:
        """More of what came."""
        ...


class _Stream:
    """Events as they come, of either wire."""

    def __init__(self, key: str, task_id: str, before: Reading | None) -> None:
        self._key = key
        self._task_id = task_id
        self._buffer = bytearray()
        self._head_read = False
        self.text = before.text if before is not None else ""
        self.last_id = before.last_id if before is not None else ""
        self.done = False
        self.answers = bytearray()

    def feed(self, data: bytes) -> None:
        """See `Reading`."""
        self._buffer += data
        if not self._head_read:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
                raise RuntimeError(f"the edge refused a stream: {bytes(head[:200])!r}")
            self._head_read, self._buffer = True, rest
        while self._next():
            pass

    def _next(self) -> bool:
        """Take one piece off the buffer; False when there is none."""
        raise NotImplementedError

    def _happened(self, name: str, event_id: str, data: dict[str, Any]) -> None:
        self.last_id = event_id or self.last_id
        self.done = name == "done"
        if name == "gap":
            raise RuntimeError(f"the stream has a hole: {data}")
        if name in {"partial", "token"}:
            self.text = data["text"] if name == "partial" else self.text + data["text"]

    def _head(self, *fields: str) -> bytes:
        lines = [
            f"GET /v1/stream/{self._task_id} HTTP/1.1",
            "Host: bench",
            f"Authorization: Bearer {self._key}",
            *fields,
        ]
        if self.last_id:
            lines.append(f"Last-Event-ID: {self.last_id}")
        return "\r\n".join([*lines, "", ""]).encode()


class SseReading(_Stream):
    """Server-sent events in chunks."""

    def __init__(self, key: str, task_id: str, before: Reading | None = None) -> None:
        super().__init__(key, task_id, before)
        self._events = bytearray()

    def request(self) -> bytes:
        """See `Reading`."""
        return self._head()

    def _next(self) -> bool:
        size, found, rest = self._buffer.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            return False
        self._events += rest[: int(size, 16)]
        self._buffer = rest[int(size, 16) + 2 :]
        *blocks, self._events = self._events.split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            if "event" in fields:
                self._happened(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
        return True


class WsReading(_Stream):
    """Frames of a WebSocket."""

    def request(self) -> bytes:
        """See `Reading`."""
        key = base64.b64encode(os.urandom(16)).decode()
        return self._head(
            "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"
        )

    def _next(self) -> bool:
        buffer, at = self._buffer, 2
        if len(buffer) < at:
            return False
        length = buffer[1]
        if length >= 126:
            form = "!H" if length == 126 else "!Q"
            at += struct.calcsize(form)
            if len(buffer) < at:
                return False
            (length,) = struct.unpack_from(form, buffer, 2)
        if len(buffer) < at + length:
            return False
        opcode, payload = buffer[0] & 15, bytes(buffer[at : at + length])
        del buffer[: at + length]
        if opcode == 9:
            self.answers += bytes((0x8A, 0x80 | len(payload))) + _NO_MASK + payload
        elif opcode == 1:
            frame = json.loads(payload)
            if frame["type"] == "event":
                self._happened(frame["event"], frame.get("event_id", ""), frame["data"])
        return True
