"""The server's side of the client protocol (docs.nats.io, "Client Protocol"), from bytes to calls. No I/O."""

from collections.abc import Callable

from bus.nats.message import Message

MAX_LINE_BYTES = 1 << 20
"""An `INFO` line lists every server of a cluster; nothing else comes near."""
OnMessage = Callable[[int, Message], None]
OnControl = Callable[[bytes, bytes], None]


class ProtocolError(Exception):
    """Bytes that no NATS server sends: the stream is out of step, and only a new connection helps."""


class Parser:
    """Feed it what arrives; it calls `on_message(sid, message)` and `on_control(verb, rest)` in order."""

    def __init__(self, on_message: OnMessage, on_control: OnControl) -> None:
        self._on_message = on_message
        self._on_control = on_control
        self._parts: list[bytes] = []
        self._held = 0
        self._wanted = 0

    def feed(self, data: bytes) -> None:
        """Parse what is complete and keep the rest; a large payload is joined once, when all of it is here."""
        if self._parts:
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._wanted:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        at = self._parse(data)
        if at < len(data):
            self._parts.append(data[at:] if at else data)
            self._held = len(data) - at

    def _parse(self, data: bytes) -> int:
        """Where the first incomplete operation begins; sets how many bytes from there would complete it."""
        at, size = 0, len(data)
        while at < size:
            end = data.find(b"\r\n", at)
            if end < 0:
                if size - at > MAX_LINE_BYTES:
                    raise ProtocolError(f"a line of more than {MAX_LINE_BYTES} bytes")
                self._wanted = 0
                return at
            first = data[at]
            if first == 0x4D or first == 0x48:  # M of MSG, H of HMSG
                after = self._message(data, at, end, size)
                if after < 0:
                    return at
                at = after
            else:
                verb, _, rest = data[at:end].partition(b" ")
                self._on_control(verb, rest)
                at = end + 2
        return at

    def _message(self, data: bytes, at: int, end: int, size: int) -> int:
        """`MSG subject sid [reply] size` or `HMSG subject sid [reply] head size`; -1 while bytes are missing."""
        try:
            words = data[at:end].decode("utf-8", "replace").split(" ")  # the server lets anybody name a subject so
            total = int(words[-1])
            headed = words[0] == "HMSG"
            head = int(words[-2]) if headed else 0
            sid = int(words[2])
            reply = words[3] if len(words) == (6 if headed else 5) else ""
        except (ValueError, IndexError) as error:
            raise ProtocolError(f"not a message line: {data[at : min(end, at + 80)]!r}") from error
        begin = end + 2
        after = begin + total + 2
        if after > size:
            self._wanted = after - at
            return -1
        body = begin + head
        message = Message(words[1], reply, data[body : after - 2], data[begin:body])
        self._on_message(sid, message)
        return after
