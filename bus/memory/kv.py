"""The KV port of one connection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context
from types import MappingProxyType

from bus.memory.link import Link
from bus.memory.server import MemoryServer
from bus.port import DEFAULT_TIMEOUT_S, KvEntry


class MemoryKv:
    """`bus.port.Kv` over the server's buckets."""

    def __init__(self, server: MemoryServer, link: Link) -> None:
        self._buckets = server.buckets
        self._link = link

    async def put(
        self, bucket: str, key: str, value: bytes, *, ttl_s: float | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> int:
        """See `bus.port.Kv.put`."""
        _check(ttl_s)
        await self._link.cross()
        return self._buckets.put(bucket, key, value, ttl_s)

    async def create(self, bucket: str, key: str, value: bytes, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Kv.create`."""
        await self._link.cross()
        return self._buckets.create(bucket, key, value)

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
        _check(ttl_s)
        await self._link.cross()
        return self._buckets.update(bucket, key, value, after, ttl_s)

    async def get(self, bucket: str, key: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> KvEntry | None:
        """See `bus.port.Kv.get`."""
        await self._link.cross()
        return self._buckets.bucket(bucket).entries.get(key)

    async def delete(self, bucket: str, key: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """See `bus.port.Kv.delete`."""
        await self._link.cross()
        self._buckets.delete(bucket, key)

    @asynccontextmanager
    async def view(
        self, bucket: str, changed: Callable[[str, bytes | None], None] | None = None
    ) -> AsyncIterator[Mapping[str, bytes]]:
        """See `bus.port.Kv.view`."""
        await self._link.cross()
        shared, key, context = self._buckets.bucket(bucket), object(), copy_context()
        seen = {name: entry.value for name, entry in shared.entries.items()}
        missed: list[tuple[str, bytes | None]] = []

        def pass_on(name: str, value: bytes | None) -> None:
            if self._link.up:
                asyncio.get_running_loop().call_soon(apply, name, value, context=context)
            else:
                missed.append((name, value))

        def catch_up() -> None:
            changes = missed[:]
            missed.clear()
            for change in changes:
                pass_on(*change)

        def apply(name: str, value: bytes | None) -> None:
            if key not in shared.watchers:
                return
            if value is None:
                seen.pop(name, None)
            else:
                seen[name] = value
            if changed is not None:
                changed(name, value)

        def forget() -> None:
            shared.watchers.pop(key, None)

        with self._link.holding(forget, catch_up):
            shared.watchers[key] = pass_on
            yield MappingProxyType(seen)


def _check(ttl_s: float | None) -> None:
    if ttl_s is not None and (ttl_s < 1 or ttl_s != int(ttl_s)):
        raise ValueError(f"ttl_s={ttl_s} cannot be kept: use whole seconds, at least 1")
