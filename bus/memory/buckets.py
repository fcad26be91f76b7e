"""The server's half of the KV buckets."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field

from bus.port import KvEntry
from schemas.errors import Conflict

Watcher = Callable[[str, bytes | None], None]


@dataclass(slots=True)
class Bucket:
    """Keys, who watches them, and the timers of those that expire."""

    entries: dict[str, KvEntry] = field(default_factory=dict)
    timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    watchers: dict[object, Watcher] = field(default_factory=dict)
    revision: int = 0


class Buckets:
    """All buckets by name; one exists as soon as it is named."""

    def __init__(self, context: Context) -> None:
        self._buckets: dict[str, Bucket] = {}
        self._context = context

    def bucket(self, name: str) -> Bucket:
        """The bucket called `name`."""
        return self._buckets.setdefault(name, Bucket())

    def put(self, name: str, key: str, value: bytes, ttl_s: float | None) -> int:
        """The revision; a TTL set earlier is replaced or lifted."""
        bucket = self.bucket(name)
        self._stop_timer(bucket, key)
        if ttl_s is not None:
            loop = asyncio.get_running_loop()
            bucket.timers[key] = loop.call_later(ttl_s, self.delete, name, key, context=self._context)
        bucket.revision += 1
        bucket.entries[key] = KvEntry(value, bucket.revision)
        self._tell(bucket, key, value)
        return bucket.revision

    def create(self, name: str, key: str, value: bytes) -> int:
        """As `put`; `Conflict` when the key is there."""
        if key in self.bucket(name).entries:
            raise Conflict(f"{key} exists in {name} already: put it to replace it")
        return self.put(name, key, value, None)

    def update(self, name: str, key: str, value: bytes, after: int, ttl_s: float | None) -> int:
        """As `put`; `Conflict` unless `after` is the key's revision."""
        found = self.bucket(name).entries.get(key)
        if found is None or found.revision != after:
            raise Conflict(f"{key} in {name} was written by another")
        return self.put(name, key, value, ttl_s)

    def delete(self, name: str, key: str) -> None:
        """Remove the key, by hand or by its TTL."""
        bucket = self.bucket(name)
        self._stop_timer(bucket, key)
        if bucket.entries.pop(key, None) is not None:
            bucket.revision += 1
            self._tell(bucket, key, None)

    def _stop_timer(self, bucket: Bucket, key: str) -> None:
        timer = bucket.timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _tell(self, bucket: Bucket, key: str, value: bytes | None) -> None:
        for watcher in list(bucket.watchers.values()):
            watcher(key, value)
