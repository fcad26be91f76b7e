"""Buckets: newest value wins, views are complete and stay current, and what is not renewed disappears."""

import asyncio
from typing import Any

import pytest

from bus import BusSettings, open_bus
from bus.nats import kv, layout
from bus.port import KvEntry
from bus.subjects import CATALOG, ENGINES, KEYS, MODULES, SESSIONS
from schemas.errors import Conflict


async def test_what_was_put_is_got_with_its_revision(ground: Any) -> None:
    async with ground.bus() as one, ground.bus() as two:
        first = await one.kv.put(MODULES, "summarize", b"one")
        second = await one.kv.put(MODULES, "summarize", b"\x00two\xff")
        assert second > first > 0
        assert await two.kv.get(MODULES, "summarize") == KvEntry(b"\x00two\xff", second)


async def test_a_missing_key_is_none(ground: Any) -> None:
    async with ground.bus() as bus:
        assert await bus.kv.get(MODULES, "nothing") is None


async def test_a_key_may_have_dots_and_buckets_do_not_mix(ground: Any) -> None:
    async with ground.bus() as bus:
        await bus.kv.put(KEYS, "apikey.k-1_x", b"key")
        await bus.kv.put(MODULES, "apikey.k-1_x", b"module")
        key, module = await bus.kv.get(KEYS, "apikey.k-1_x"), await bus.kv.get(MODULES, "apikey.k-1_x")
    assert (key.value, module.value) == (b"key", b"module")


async def test_an_empty_value_is_a_value(ground: Any) -> None:
    async with ground.bus() as bus:
        revision = await bus.kv.put(CATALOG, "empty", b"")
        assert await bus.kv.get(CATALOG, "empty") == KvEntry(b"", revision)
        async with bus.kv.view(CATALOG) as view:
            assert dict(view) == {"empty": b""}


async def test_create_refuses_a_key_that_exists(ground: Any) -> None:
    async with ground.bus() as bus:
        await bus.kv.create(MODULES, "summarize", b"one")
        with pytest.raises(Conflict):
            await bus.kv.create(MODULES, "summarize", b"two")
        entry = await bus.kv.get(MODULES, "summarize")
    assert entry.value == b"one"


async def test_of_many_creators_one_wins(ground: Any) -> None:
    async with ground.bus() as one, ground.bus() as two:
        creates = [bus.kv.create(MODULES, "race", f"{n}".encode()) for n in range(10) for bus in (one, two)]
        results = await asyncio.gather(*creates, return_exceptions=True)
        entry = await one.kv.get(MODULES, "race")
    assert [r for r in results if isinstance(r, int)] == [entry.revision]
    assert sum(isinstance(r, Conflict) for r in results) == 19


async def test_an_update_follows_the_revision_it_names_or_is_refused(ground: Any) -> None:
    async with ground.bus() as bus:
        first = await bus.kv.put(MODULES, "summarize", b"one")
        second = await bus.kv.update(MODULES, "summarize", b"two", after=first)
        assert await bus.kv.get(MODULES, "summarize") == KvEntry(b"two", second)
        for stale in (first, second + 100, 0):
            with pytest.raises(Conflict):
                await bus.kv.update(MODULES, "summarize", b"three", after=stale)
        with pytest.raises(Conflict):
            await bus.kv.update(MODULES, "never-was", b"one", after=second)
        assert await bus.kv.get(MODULES, "summarize") == KvEntry(b"two", second)


async def test_of_many_updaters_one_wins(ground: Any) -> None:
    async with ground.bus() as one, ground.bus() as two:
        first = await one.kv.put(MODULES, "race", b"start")
        updates = [bus.kv.update(MODULES, "race", b"%d" % n, after=first) for n in range(10) for bus in (one, two)]
        results = await asyncio.gather(*updates, return_exceptions=True)
        entry = await one.kv.get(MODULES, "race")
    assert [r for r in results if isinstance(r, int)] == [entry.revision]
    assert sum(isinstance(r, Conflict) for r in results) == 19


async def test_an_update_sets_the_ttl_anew(ground: Any, eventually: Any) -> None:
    async with ground.bus() as bus, bus.kv.view(ENGINES) as view:
        first = await bus.kv.put(ENGINES, "wasm.mortal", b"x", ttl_s=1.0)
        await bus.kv.update(ENGINES, "wasm.mortal", b"y", after=first, ttl_s=2.0)
        await asyncio.sleep(1.3)
        assert await bus.kv.get(ENGINES, "wasm.mortal") is not None
        await eventually(lambda: "wasm.mortal" not in view)


async def test_a_deleted_key_is_gone_and_can_be_created_again(ground: Any) -> None:
    async with ground.bus() as bus:
        await bus.kv.put(MODULES, "summarize", b"one")
        await bus.kv.delete(MODULES, "summarize")
        assert await bus.kv.get(MODULES, "summarize") is None
        await bus.kv.delete(MODULES, "summarize")
        await bus.kv.delete(MODULES, "never-was")
        await bus.kv.create(MODULES, "summarize", b"two")
        entry = await bus.kv.get(MODULES, "summarize")
    assert entry.value == b"two"


async def test_a_deletion_is_told_once_and_no_marker_of_it_is_a_value(
    ground: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv, "MARKER_TTL_S", 1.0)
    told: list[tuple[str, bytes | None]] = []
    async with ground.bus() as bus, bus.kv.view(SESSIONS, lambda key, value: told.append((key, value))) as view:
        await bus.kv.put(SESSIONS, "family", b"one", ttl_s=600.0)
        await bus.kv.delete(SESSIONS, "family")
        await eventually(lambda: len(told) == 2)
        await asyncio.sleep(1.5)  # the server's own marker stands there by now
        assert (told, dict(view)) == ([("family", b"one"), ("family", None)], {})
        assert await bus.kv.get(SESSIONS, "family") is None
        async with bus.kv.view(SESSIONS) as later:
            assert dict(later) == {}
        await bus.kv.create(SESSIONS, "family", b"two")
        await eventually(lambda: dict(view) == {"family": b"two"})


async def test_nothing_of_a_deleted_key_stays_on_the_server(fresh_nats: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else buckets, which are bounded, fill up with the markers of what was deleted."""
    configured = layout.bucket_config

    def brief(bucket: str, settings: BusSettings) -> dict[str, Any]:
        return configured(bucket, settings) | {"subject_delete_marker_ttl": layout.SECOND_NS}

    monkeypatch.setattr(kv, "MARKER_TTL_S", 1.0)
    monkeypatch.setattr(layout, "bucket_config", brief)
    async with open_bus(BusSettings(url=fresh_nats)) as bus, asyncio.timeout(10):
        assert isinstance(bus.kv, kv.NatsKv)
        await bus.kv.put(SESSIONS, "family", b"one", ttl_s=600.0)
        await bus.kv.delete(SESSIONS, "family")
        while await bus.kv._newest(SESSIONS, "family", 1.0) is not None:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.1)


async def test_a_view_is_complete_when_handed_over(ground: Any) -> None:
    async with ground.bus() as one, ground.bus() as two:
        for number in range(50):
            await one.kv.put(ENGINES, f"wasm.i{number}", f"{number}".encode())
        await one.kv.put(ENGINES, "wasm.i7", b"newer")
        await one.kv.delete(ENGINES, "wasm.i8")
        async with two.kv.view(ENGINES) as view:
            expected = {f"wasm.i{n}": f"{n}".encode() for n in range(50) if n != 8} | {"wasm.i7": b"newer"}
            assert dict(view) == expected


async def test_a_view_of_an_empty_bucket_is_handed_over_empty(ground: Any) -> None:
    async with ground.bus() as bus, asyncio.timeout(5), bus.kv.view(CATALOG) as view:
        assert dict(view) == {}


async def test_a_view_follows_changes_and_tells_of_each(ground: Any, eventually: Any) -> None:
    told: list[tuple[str, bytes | None]] = []
    async with ground.bus() as one, ground.bus() as two:
        await one.kv.put(ENGINES, "old", b"0")
        async with two.kv.view(ENGINES, lambda key, value: told.append((key, value))) as view:
            assert told == []
            await one.kv.put(ENGINES, "a", b"1")
            await one.kv.put(ENGINES, "a", b"2")
            await one.kv.create(ENGINES, "b", b"3")
            await one.kv.delete(ENGINES, "a")
            await eventually(lambda: len(told) >= 4)
            assert dict(view) == {"old": b"0", "b": b"3"}
    assert told == [("a", b"1"), ("a", b"2"), ("b", b"3"), ("a", None)]


async def test_a_key_with_a_ttl_expires_in_every_view(ground: Any, eventually: Any) -> None:
    told: list[tuple[str, bytes | None]] = []
    async with ground.bus() as one, ground.bus() as two:
        async with two.kv.view(ENGINES, lambda key, value: told.append((key, value))) as view:
            await one.kv.put(ENGINES, "wasm.mortal", b"x", ttl_s=1.0)
            await one.kv.put(ENGINES, "wasm.lasting", b"y")
            await eventually(lambda: set(view) == {"wasm.mortal", "wasm.lasting"})
            await eventually(lambda: set(view) == {"wasm.lasting"})
            assert told[-1] == ("wasm.mortal", None)
        assert await one.kv.get(ENGINES, "wasm.mortal") is None
        await one.kv.create(ENGINES, "wasm.mortal", b"again")


async def test_a_key_put_again_in_time_stays(ground: Any) -> None:
    async with ground.bus() as bus, bus.kv.view(ENGINES) as view:
        for _ in range(6):
            await bus.kv.put(ENGINES, "wasm.alive", b"x", ttl_s=1.0)
            await asyncio.sleep(0.35)
            assert dict(view) == {"wasm.alive": b"x"}
        assert await bus.kv.get(ENGINES, "wasm.alive") is not None


async def test_a_view_cannot_be_written(ground: Any) -> None:
    async with ground.bus() as bus, bus.kv.view(ENGINES) as view:
        with pytest.raises(TypeError):
            view["x"] = b"y"
