"""Who is signed in, counted from the bucket: by tenant, by user, by key, and never by what was lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from actors.auth.tally import UNSEEN_MS, Tally, User
from actors.runtime import Context
from bus.memory import MemoryBus, MemoryServer
from bus.subjects import SESSIONS
from schemas.message import changed, encode
from schemas.tokens import FamilyRecord

ALICE = User("acme", "user:local/alice")


class Clock:
    now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def family(name: str, user: User = ALICE, key: str | None = "k1") -> FamilyRecord:
    return FamilyRecord(
        family=name, tenant_id=user.tenant_id, subject=user.subject, scopes=("tasks:read",), key=key,
        proof_sha256="0" * 64, turn_sha256="0" * 64, created_at_ms=1, expires_at_ms=2,
    )  # fmt: skip


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.bus = MemoryBus(MemoryServer())
        self.tally = Tally(Context(self.bus, "auth-1", structlog.get_logger(), self.clock))

    async def store(self, *records: FamilyRecord) -> None:
        for record in records:
            await self.bus.kv.put(SESSIONS, record.family, encode(record))
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Tally]:
        watching = asyncio.create_task(self.tally.watch())
        await self.settle()
        yield self.tally
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_what_stood_in_the_bucket_and_what_comes_and_goes_is_counted() -> None:
    world = World()
    await world.store(family("a"), family("b", User("acme", "user:sso/bob"), None))
    await world.bus.kv.put(SESSIONS, "odd", b"unreadable")
    async with world.watching() as tally:
        assert tally.complete
        await world.store(family("c", User("globex", ALICE.subject), "k2"))
        assert (tally.total, tally.of_tenant("acme"), tally.of_tenant("globex")) == (3, 2, 1)
        assert (set(tally.keys), sorted(tally.of_keys({"k1", "k2"}))) == ({"k1", "k2"}, ["a", "c"])
        await world.bus.kv.delete(SESSIONS, "a")
        await world.bus.kv.put(SESSIONS, "odd", encode(family("odd")))
        await world.settle()
        assert (tally.of_tenant("acme"), tally.of_user(ALICE), set(tally.keys)) == (2, ("odd",), {"k1", "k2"})


async def test_a_users_families_stand_in_the_order_of_their_last_use() -> None:
    world = World()
    async with world.watching() as tally:
        await world.store(family("a"), family("b"), family("c"), changed(family("a"), turn=2))
        assert tally.of_user(ALICE) == ("b", "c", "a")


async def test_a_family_that_is_about_to_be_stored_counts_at_once_and_once() -> None:
    world = World()
    async with world.watching() as tally:
        tally.expect(family("a"))
        assert tally.of_tenant("acme") == 1
        await world.store(family("a"))
        assert tally.of_tenant("acme") == 1
        await world.bus.kv.delete(SESSIONS, "a")
        await world.settle()
        assert tally.of_tenant("acme") == 0


async def test_a_family_that_was_never_stored_is_not_counted_for_ever() -> None:
    """Neither one whose storing failed, nor one of which nobody knows whether it was."""
    world = World()
    tally = world.tally
    tally.expect(family("a"))
    tally.unexpect("a")
    assert tally.of_tenant("acme") == 0
    tally.expect(family("b"))
    world.clock.now_ms += UNSEEN_MS - 1
    assert tally.of_tenant("acme") == 1
    world.clock.now_ms += 1
    assert (tally.of_tenant("acme"), tally.of_user(ALICE)) == (0, ())


async def test_a_family_that_was_stored_counts_also_when_its_writer_did_not_hear_so() -> None:
    world = World()
    async with world.watching() as tally:
        tally.expect(family("a"))
        await world.store(family("a"))
        tally.unexpect("a")
        world.clock.now_ms += UNSEEN_MS
        assert tally.of_tenant("acme") == 1


async def test_a_large_bucket_is_counted_in_turns_and_what_changes_meanwhile_is_right() -> None:
    world = World()
    for number in range(2500):
        await world.bus.kv.put(SESSIONS, f"f{number}", encode(family(f"f{number}")))
    watching = asyncio.create_task(world.tally.watch())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not world.tally.complete
    await world.bus.kv.delete(SESSIONS, "f2400")
    await world.bus.kv.put(SESSIONS, "new", encode(family("new")))
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.tally.complete
    await world.settle()
    assert world.tally.of_tenant("acme") == 2500
    assert "f2400" not in world.tally.of_user(ALICE)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
