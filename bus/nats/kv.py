"""Buckets over JetStream streams (ADR-8), with per-key TTL (ADR-43) and views kept current by a reader."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Final

import structlog

from bus.nats.connection import WRONG_SEQUENCE, Connection
from bus.nats.message import Message, encode_headers
from bus.nats.reader import Start, StreamReader, open_reader
from bus.nats.stored import Delivered
from bus.port import DEFAULT_TIMEOUT_S, KvEntry
from bus.waiting import timeout
from schemas.errors import Conflict, Unavailable

MARKER_TTL_S: Final = 60.0
"""How long a deletion's own marker stands. The server's follows it, as after an expiry, and goes by itself as well."""
_RESTART_S = 1.0
_FILL_S = 60.0
Changed = Callable[[str, bytes | None], None]


class NatsKv:
    """`bus.port.Kv` on the real server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(
        self, bucket: str, key: str, value: bytes, *, ttl_s: float | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> int:
        """See `bus.port.Kv.put`."""
        return await self._write(bucket, key, value, _lasting(ttl_s), timeout_s)

    async def create(self, bucket: str, key: str, value: bytes, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Kv.create`. A key that was deleted is created over its marker."""
        newest = await self._newest(bucket, key, timeout_s)
        if newest is not None and not _removed(newest):
            raise Conflict(f"{key} exists in {bucket}")
        after = newest.headers.get("Nats-Sequence", "0") if newest is not None else "0"
        return await self._write(bucket, key, value, {"Nats-Expected-Last-Subject-Sequence": after}, timeout_s)

    async def update(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        after: int,
        ttl_s: float | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> int:
        """See `bus.port.Kv.update`."""
        headers = {**_lasting(ttl_s), "Nats-Expected-Last-Subject-Sequence": str(after)}
        return await self._write(bucket, key, value, headers, timeout_s)

    async def get(self, bucket: str, key: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> KvEntry | None:
        """See `bus.port.Kv.get`."""
        newest = await self._newest(bucket, key, timeout_s)
        if newest is None or _removed(newest):
            return None
        return KvEntry(newest.data, int(newest.headers["Nats-Sequence"]))

    async def delete(self, bucket: str, key: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """See `bus.port.Kv.delete`."""
        await self._write(bucket, key, b"", {"KV-Operation": "DEL", **_lasting(MARKER_TTL_S)}, timeout_s)

    async def _newest(self, bucket: str, key: str, timeout_s: float) -> Message | None:
        subject = f"$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{key}"
        message = await self._connection.request(subject, b"", timeout_s=timeout_s)
        return message if "Nats-Sequence" in message.headers else None

    async def _write(self, bucket: str, key: str, value: bytes, headers: Mapping[str, str], timeout_s: float) -> int:
        reply = await self._connection.request(
            f"$KV.{bucket}.{key}", value, timeout_s=timeout_s, head=encode_headers(headers) if headers else b""
        )
        answer = json.loads(reply.data)
        error = answer.get("error")
        if not error:
            return int(answer["seq"])
        if error.get("err_code") in WRONG_SEQUENCE:
            raise Conflict(f"{key} in {bucket} was written by another")
        raise Unavailable(f"{bucket}/{key} was not written: {error.get('description')}", retry_after_s=1.0)

    def view(self, bucket: str, changed: Changed | None = None) -> AbstractAsyncContextManager[Mapping[str, bytes]]:
        """See `bus.port.Kv.view`."""
        return self._view(bucket, changed)

    @asynccontextmanager
    async def _view(self, bucket: str, changed: Changed | None) -> AsyncIterator[Mapping[str, bytes]]:
        start = Start(last_per_subject=True, filter=f"$KV.{bucket}.>")
        async with open_reader(self._connection, f"KV_{bucket}", start) as reader:
            view = _View(bucket, reader, changed)
            await view.fill()
            follower = asyncio.create_task(view.follow())
            try:
                yield MappingProxyType(view.values)
            finally:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)


class _View:
    """The values of a bucket; after a restart of its reader, keys not seen again are dropped."""

    def __init__(self, bucket: str, reader: StreamReader, changed: Changed | None) -> None:
        self.values: dict[str, bytes] = {}
        self._prefix = f"$KV.{bucket}."
        self._reader = reader
        self._changed = changed
        self._restarts = reader.restarts
        self._unseen: set[str] = set()

    async def fill(self) -> None:
        """Return once all that stood in the bucket is here. A walk that began anew meanwhile says all of it again.

        Raises `Unavailable` when nothing comes for `DEFAULT_TIMEOUT_S`, or not all within `_FILL_S`: it may be large.
        """
        try:
            async with timeout(_FILL_S):
                while self._reader.pending:
                    for _, _, message in await self._next():
                        self._apply(message, announce=False)
        except TimeoutError as error:
            raise Unavailable(f"{self._prefix} was not read to its end: {len(self.values)} keys came") from error

    async def _next(self) -> Sequence[Delivered]:
        """The next of a walk, without what one before it said. Raises `TimeoutError`."""
        async with timeout(DEFAULT_TIMEOUT_S):
            while self._reader.pending:
                found = await self._reader.next(0.5)
                if self._began_anew():
                    self.values.clear()
                if found:
                    return found
        return ()

    async def follow(self) -> None:
        """Apply changes for ever. A stale view would honour revoked keys, so whatever breaks it starts it anew."""
        while True:
            try:
                await self._step()
            except Exception:
                structlog.get_logger("bus").exception("view_restarts", bucket=self._prefix)
                self._reader.lose()
                await asyncio.sleep(_RESTART_S)

    async def _step(self) -> None:
        found = await self._reader.next(5.0)
        if self._began_anew():
            self._unseen = set(self.values)
        for _, _, message in found:
            self._apply(message, announce=True)
        if self._unseen and not self._reader.pending:
            self._drop_unseen()

    def _began_anew(self) -> bool:
        """Whether the reader restarted since this was last asked: what it said before says nothing of what is there."""
        before, self._restarts = self._restarts, self._reader.restarts
        return self._restarts != before

    def _drop_unseen(self) -> None:
        for key in self._unseen:
            self._set(key, None, announce=True)
        self._unseen = set()

    def _apply(self, message: Message, *, announce: bool) -> None:
        key = message.subject.removeprefix(self._prefix)
        self._unseen.discard(key)
        self._set(key, None if _removed(message) else message.data, announce=announce)

    def _set(self, key: str, value: bytes | None, *, announce: bool) -> None:
        if value is None:
            if self.values.pop(key, None) is None:
                return
        else:
            self.values[key] = value
        if announce and self._changed is not None:
            try:
                self._changed(key, value)
            except Exception:
                # A reader's own mistake must not stop the view for its other users.
                structlog.get_logger("bus").exception("view_callback_failed", key=key)


def _lasting(ttl_s: float | None) -> dict[str, str]:
    if ttl_s is None:
        return {}
    if ttl_s < 1:
        raise ValueError(f"ttl_s {ttl_s} is under a second, the server's smallest")
    return {"Nats-TTL": f"{round(ttl_s)}s"}


def _removed(message: Message) -> bool:
    headers = message.headers
    return headers.get("KV-Operation") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers
