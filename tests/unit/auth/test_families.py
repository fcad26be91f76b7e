"""How many sign-ins there may be: of one user, of one tenant, over several auth actors, and after a crash anywhere."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from actors.auth.audit import Audit
from actors.auth.families import Families
from actors.auth.settings import AuthSettings
from actors.auth.tally import Tally, User
from actors.runtime import Context
from actors.runtime.refusals import Bearer
from bus.memory import MemoryBus, MemoryServer
from bus.subjects import KEYS, SESSIONS
from schemas.errors import TooManyRequests, Unauthenticated, Unavailable
from schemas.events import AuditEvent
from schemas.message import decode
from schemas.scopes import Scope
from schemas.tokens import FamilyRecord, RefreshToken

SCOPES: tuple[Scope, ...] = ("tasks:read",)


class Died(BaseException):
    """The process was killed there."""


class Doors:
    """One auth actor's families, on a connection of its own. `dying_at` names the write that kills it."""

    def __init__(self, server: MemoryServer, seed: int, dying_at: int | None = None, **settings: Any) -> None:
        self.bus = MemoryBus(server)
        self.writes = 0
        self.dying_at = dying_at
        self._spy_on("put")
        self._spy_on("delete")
        context = Context(self.bus, f"auth-{seed}", structlog.get_logger(), server.now_ms, random.Random(seed))
        self.tally = Tally(context)
        self.families = Families(context, Audit(context), AuthSettings(**settings), self.tally)

    def _spy_on(self, verb: str) -> None:
        doing: Callable[..., Any] = getattr(self.bus.kv, verb)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.writes += 1
            if self.writes == self.dying_at:
                raise Died
            answer = await doing(*args, **kwargs)
            if self.dying_at is not None and self.writes == -self.dying_at:
                raise Died  # stored, and nobody heard so
            return answer

        setattr(self.bus.kv, verb, counted)

    async def sign_in(self, subject: str, tenant_id: str = "acme", key: str | None = None) -> RefreshToken:
        token = self.families.found()
        record = self.families.record(token, tenant_id=tenant_id, subject=subject, scopes=SCOPES, key=key)
        with self.families.place(record):
            await asyncio.sleep(0)  # where it is told
            await self.families.open(record)
        return token

    async def sign_in_again_and_again(self, subject: str) -> None:
        while True:
            await self.sign_in(subject)


class Installation:
    def __init__(self, **settings: Any) -> None:
        self.server = MemoryServer()
        self.bus = MemoryBus(self.server)
        self.settings = settings
        self._watching: list[asyncio.Task[None]] = []
        self._number = 0

    async def actor(self, dying_at: int | None = None) -> Doors:
        self._number += 1
        doors = Doors(self.server, self._number, dying_at, **self.settings)
        self._watching.append(asyncio.create_task(doors.tally.watch()))
        await settle()
        assert doors.tally.complete
        return doors

    async def stored(self) -> list[str]:
        """Whose families stand in the bucket."""
        async with self.bus.kv.view(SESSIONS) as view:
            return sorted(decode(value, FamilyRecord).subject for value in view.values())

    async def told(self) -> list[str]:
        async with self.bus.log.read(0) as reader:
            events = [entry.event() for entry in await reader.next(0.01)]
        return [event.detail["family"] for event in events if isinstance(event, AuditEvent)]

    async def close(self) -> None:
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def installation(**settings: Any) -> AsyncIterator[Installation]:
    it = Installation(**settings)
    try:
        yield it
    finally:
        await it.close()


async def is_good(doors: Doors, token: RefreshToken) -> bool:
    try:
        await doors.families.look(token, Bearer())
    except Unauthenticated:
        return False
    return True


async def test_a_user_who_signs_in_too_often_loses_what_he_used_longest_ago_and_nobody_else_does() -> None:
    async with installation(max_sessions_per_subject=3) as it:
        doors = await it.actor()
        bob = await doors.sign_in("user:local/bob")
        alice = [await doors.sign_in("user:local/alice") for _ in range(3)]
        await settle()
        record, revision = await doors.families.look(alice[0], Bearer())
        used = await doors.families.turn(alice[0], record, revision)
        await settle()
        alice += [await doors.sign_in("user:local/alice") for _ in range(2)]
        await settle()
        good = [await is_good(doors, token) for token in (used, *alice[1:], bob)]
        assert good == [True, False, False, True, True, True]
        assert await it.told() == [alice[1].family, alice[2].family]
        async with it.bus.kv.view(KEYS) as marks:
            assert not marks, "an edge would hear of each: its access tokens run out by themselves"


async def test_a_tenant_that_is_full_refuses_who_is_new_and_says_what_to_do() -> None:
    async with installation(max_sessions_per_tenant=3) as it:
        doors = await it.actor()
        tokens = [await doors.sign_in(f"user:local/u{number}") for number in range(3)]
        with pytest.raises(TooManyRequests, match=r"acme has 3 sign-ins.*MAX_SESSIONS_PER_TENANT") as refused:
            await doors.sign_in("user:local/new")
        assert (refused.value.retry_after_s, doors.families.turned_away) == (60.0, 1)
        await doors.sign_in("user:local/new", tenant_id="globex")
        await doors.families.end(tokens[1])
        await settle()
        await doors.sign_in("user:local/new")
        assert await it.stored() == ["user:local/new"] * 2 + ["user:local/u0", "user:local/u2"]


async def test_in_a_full_tenant_who_is_signed_in_takes_his_own_place() -> None:
    """Else one who makes up users would shut out everybody whose token is lost."""
    async with installation(max_sessions_per_tenant=3) as it:
        doors = await it.actor()
        first = await doors.sign_in("user:local/alice")
        for number in range(2):
            await doors.sign_in(f"user:local/made-up-{number}")
        again = await doors.sign_in("user:local/alice")
        await settle()
        assert [await is_good(doors, token) for token in (first, again)] == [False, True]
        assert doors.tally.of_tenant("acme") == 3


async def test_one_actor_admits_no_more_than_the_bound_however_many_come_at_once() -> None:
    async with installation(max_sessions_per_tenant=5) as it:
        doors = await it.actor()
        coming = [doors.sign_in(f"user:local/u{number}") for number in range(20)]
        answers = await asyncio.gather(*coming, return_exceptions=True)
        assert sum(isinstance(answer, RefreshToken) for answer in answers) == 5
        assert len(await it.stored()) == 5


async def test_a_user_who_signs_in_many_times_at_once_keeps_as_many_as_he_may() -> None:
    async with installation(max_sessions_per_subject=2) as it:
        doors = await it.actor()
        await asyncio.gather(*(doors.sign_in("user:local/alice") for _ in range(16)))
        await settle()
        assert len(await it.stored()) == 2
        assert len(await it.told()) == len(set(await it.told())) == 14


async def test_what_has_ended_is_not_ended_again_before_the_bucket_says_so() -> None:
    async with installation(max_sessions_per_subject=1) as it:
        deaf = Doors(it.server, 1, **it.settings)
        tokens = [await deaf.sign_in("user:local/alice") for _ in range(3)]
        assert await it.told() == [token.family for token in tokens[:2]]


async def test_several_actors_hold_one_bound_as_soon_as_they_hear_of_one_another() -> None:
    async with installation(max_sessions_per_tenant=4, max_sessions_per_subject=2) as it:
        actors = [await it.actor() for _ in range(3)]
        for number in range(6):
            await actors[number % 3].sign_in("user:local/alice")
            await settle()
        assert await it.stored() == ["user:local/alice"] * 2
        for number in range(2):
            await actors[number].sign_in(f"user:local/u{number}")
            await settle()
        for doors in actors:
            with pytest.raises(TooManyRequests):
                await doors.sign_in("user:local/new")


async def test_what_several_admit_at_the_same_moment_is_over_the_bound_once_and_not_for_ever() -> None:
    async with installation(max_sessions_per_subject=2) as it:
        actors = [await it.actor() for _ in range(3)]
        await asyncio.gather(*(doors.sign_in("user:local/alice") for doors in actors))
        await settle()
        assert len(await it.stored()) == 3
        await actors[0].sign_in("user:local/alice")
        assert len(await it.stored()) == 2


@pytest.mark.parametrize("dying_at", [1, -1, 2, -2, 3, -3])
async def test_an_actor_that_is_killed_at_any_write_takes_no_place_with_it(dying_at: int) -> None:
    """From the second on a sign-in writes twice, its own and the end of the old one: before each write, or after it."""
    async with installation(max_sessions_per_subject=1, max_sessions_per_tenant=3) as it:
        doors = await it.actor(dying_at)
        with pytest.raises(Died):
            await doors.sign_in_again_and_again("user:local/alice")
        another = await it.actor()
        assert another.tally.of_tenant("acme") == len(await it.stored()) <= 2
        for subject in ("user:local/alice", "user:local/bob", "user:local/carol"):
            await another.sign_in(subject)
        assert await it.stored() == ["user:local/alice", "user:local/bob", "user:local/carol"]


async def test_what_could_not_be_stored_takes_no_place() -> None:
    async with installation(max_sessions_per_tenant=1) as it:
        doors = await it.actor()
        put = doors.bus.kv.put

        async def away(*_args: Any, **_kwargs: Any) -> int:
            raise Unavailable("no answer")

        doors.bus.kv.put = away  # type: ignore[method-assign]
        for _ in range(3):
            with pytest.raises(Unavailable):
                await doors.sign_in("user:local/alice")
        doors.bus.kv.put = put  # type: ignore[method-assign]
        await doors.sign_in("user:local/bob")


async def test_a_sign_in_stands_when_the_old_one_cannot_be_ended_and_the_next_tries_again() -> None:
    async with installation(max_sessions_per_subject=1) as it:
        doors = await it.actor()
        delete = doors.bus.kv.delete
        await doors.sign_in("user:local/alice")

        async def away(*_args: Any, **_kwargs: Any) -> None:
            raise Unavailable("no answer")

        doors.bus.kv.delete = away  # type: ignore[method-assign]
        good = await doors.sign_in("user:local/alice")
        assert await is_good(doors, good)
        doors.bus.kv.delete = delete  # type: ignore[method-assign]
        await doors.sign_in("user:local/alice")
        assert len(await it.stored()) == 1


async def test_a_bucket_from_before_there_were_bounds_is_counted_and_shrinks_as_its_users_come() -> None:
    async with installation(max_sessions_per_tenant=10, max_sessions_per_subject=2) as it:
        old = Doors(it.server, 99)
        tokens = [await old.sign_in("user:local/alice") for _ in range(20)]
        doors = await it.actor()
        assert await is_good(doors, tokens[0])
        with pytest.raises(TooManyRequests):
            await doors.sign_in("user:local/bob")
        for _ in range(3):
            await doors.sign_in("user:local/alice")
            await settle()
        assert len(await it.stored()) == 2


async def test_families_of_a_key_that_is_over_are_forgotten_and_give_their_places_back() -> None:
    async with installation(max_sessions_per_tenant=3) as it:
        doors = await it.actor()
        for number, key in enumerate(("leaked", "leaked", "good")):
            await doors.sign_in(f"user:local/u{number}", key=key)
        await settle()
        await doors.families.sweep(lambda key: key == "leaked")
        assert await it.stored() == ["user:local/u2"]
        await doors.sign_in("user:local/new")


async def test_until_all_was_counted_nobody_is_refused() -> None:
    async with installation(max_sessions_per_tenant=1) as it:
        doors = Doors(it.server, 1, max_sessions_per_tenant=1)
        for number in range(2):
            await doors.sign_in(f"user:local/u{number}")
        assert doors.tally.of_user(User("acme", "user:local/u0"))
