"""The ledger over a real PostgreSQL."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import structlog
from story import NOW_MS, Story, entries_of

from actors.runtime.actor import Context
from bridges.ledger import migrate as migrating
from bridges.ledger.actor import Ledger
from bridges.ledger.connect import writing_connection
from bridges.ledger.migrate import Migration, migrate, migrations
from bridges.ledger.settings import LedgerSettings
from bridges.ledger.sink import open_ledger_sink
from bridges.position import Batch, Position, check_batch
from bus.memory import MemoryBus, MemoryServer
from bus.port import Entry, Service
from bus.questions import LEDGER_GET, LEDGER_LIST
from schemas.errors import Conflict, InvalidRequest, Misconfigured, NotFound, ProjectionHalted, Unavailable
from schemas.events import Ended, LogEvent, canonical_result
from schemas.ids import EventId
from schemas.ledger import LedgerGet, LedgerList
from schemas.message import changed, encode
from schemas.money import MAX_NANOUSD
from schemas.result import Usage


@pytest.fixture
async def settings(postgres_url: str) -> AsyncIterator[LedgerSettings]:
    """A database of this test's own."""
    name = f"ledger_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        yield LedgerSettings(url=f"{postgres_url.rsplit('/', 1)[0]}/{name}", batch_events=64, linger_ms=0)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def live_one(bus: MemoryBus, task_id: str, cost: int, *, tenant: str = "acme", later_ms: int = 0) -> Ended:
    """A task from its acceptance to its end."""
    story = Story()
    ended = story.ended(task_id, cost, tenant, b=1, a="ü\0")
    after = await bus.log.append(story.accepted(task_id, tenant, text="ü", later_ms=later_ms), after=0)
    after = await bus.log.append(story.routed(task_id, tenant, later_ms=later_ms), after=after)
    await bus.log.append(ended, after=after)
    return ended


class Running:
    """A ledger at work, with a bus to ask it over."""

    def __init__(self, server: MemoryServer, settings: LedgerSettings) -> None:
        self.bus = MemoryBus(server)
        context = Context(self.bus, "one", structlog.get_logger(), lambda: NOW_MS, random.Random(1))
        self.actor = Ledger(context, settings)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Running"]:
        async with self.actor.lifespan(), self.bus.rpc.serve(Service("ledger", "1", "one"), self.actor.answers()):
            running = asyncio.create_task(self.actor.run())
            try:
                yield self
            finally:
                self.actor.context.draining.set()
                await running

    async def reach(self, sequence: int) -> None:
        await until(lambda: int(str(self.actor.status()["sequence"])) >= sequence)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a database's progress
            await asyncio.sleep(0.01)


async def fetch(settings: LedgerSettings, sql: str) -> list[asyncpg.Record]:
    async with writing_connection(settings) as connection:
        return await connection.fetch(sql)


def batch(entries: list[Entry], after: Position | None) -> Batch:
    made = check_batch("ledger", after, entries, created="c")
    assert made is not None
    return made


async def test_every_cent_of_the_log_is_in_the_ledger(settings: LedgerSettings) -> None:
    server, rng = MemoryServer(), random.Random(5)
    bus = MemoryBus(server)
    costs = [rng.randrange(0, 3_000_000_000) for _ in range(200)]
    for number, cost in enumerate(costs):
        await live_one(bus, f"t{number}", cost, tenant=f"tenant{number % 3}")
    async with Running(server, settings).serving() as ledger:
        await ledger.reach(600)
    billed = await fetch(
        settings, "SELECT tenant_id, sum(cost_nanousd) AS sum, count(*) AS n FROM usage_billing GROUP BY 1"
    )
    assert {row["tenant_id"]: int(row["sum"]) for row in billed} == {
        f"tenant{number}": sum(costs[number::3]) for number in range(3)
    }
    assert sum(row["n"] for row in billed) == 200
    tasks = await fetch(settings, "SELECT state, attempts, count(*) AS n FROM tasks GROUP BY 1, 2")
    assert [tuple(row.values()) for row in tasks] == [("ended", 1, 200)]


async def test_it_answers_for_the_task_and_its_tenant_alone(settings: LedgerSettings) -> None:
    server = MemoryServer()
    ended = await live_one(MemoryBus(server), "t1", 42)
    async with Running(server, settings).serving() as ledger:
        await ledger.reach(3)
        found = await ledger.bus.rpc.ask(LEDGER_GET, LedgerGet(tenant_id="acme", task_id="t1"))
        assert found.result == canonical_result(ended)
        assert (found.cost_nanousd, found.state, found.accepted_at_ms) == (42, "ended", NOW_MS)
        for tenant, task in (("other", "t1"), ("acme", "t2")):
            with pytest.raises(NotFound):
                await ledger.bus.rpc.ask(LEDGER_GET, LedgerGet(tenant_id=tenant, task_id=task))
        assert (await ledger.bus.rpc.ask(LEDGER_LIST, LedgerList(tenant_id="other"))).tasks == ()


async def test_the_stored_result_has_the_very_bytes_of_the_canonical_one(settings: LedgerSettings) -> None:
    server = MemoryServer()
    ended = await live_one(MemoryBus(server), "t1", 42)
    async with Running(server, settings).serving() as ledger:
        await ledger.reach(3)
    (row,) = await fetch(settings, "SELECT result FROM tasks")
    assert row["result"] == encode(canonical_result(ended)).decode()


async def test_pages_cover_everything_once_newest_first_also_among_equal_times(settings: LedgerSettings) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    for number in range(25):
        await live_one(bus, f"t{number:02}", 1, later_ms=number // 4)
    seen: list[str] = []
    async with Running(server, settings).serving() as ledger:
        await ledger.reach(75)
        before: str | None = None
        while True:
            page = await ledger.bus.rpc.ask(LEDGER_LIST, LedgerList(tenant_id="acme", limit=7, before=before))
            seen += [task.task_id for task in page.tasks]
            before = page.next
            if before is None:
                break
        with pytest.raises(InvalidRequest):
            await ledger.bus.rpc.ask(LEDGER_LIST, LedgerList(tenant_id="acme", before="forged"))
    assert seen == [f"t{number:02}" for number in reversed(range(25))]


async def test_filters_narrow_a_page_and_results_are_left_out(settings: LedgerSettings) -> None:
    server, story = MemoryServer(), Story()
    bus = MemoryBus(server)
    for number in range(4):
        await live_one(bus, f"t{number}", 1, later_ms=1000 * number)
    await bus.log.append(story.accepted("open", later_ms=9000), after=0)
    async with Running(server, settings).serving() as ledger:
        await ledger.reach(13)

        async def found(**filters: Any) -> list[str]:
            page = await ledger.bus.rpc.ask(LEDGER_LIST, LedgerList(tenant_id="acme", **filters))
            assert all(task.result is None for task in page.tasks)
            return [task.task_id for task in page.tasks]

        assert await found() == ["open", "t3", "t2", "t1", "t0"]
        assert await found(status="OK") == ["t3", "t2", "t1", "t0"]
        assert await found(status="RUNNING") == ["open"]
        assert await found(status="ERROR") == await found(intent="greet") == []
        assert await found(intent="summarize", status="RUNNING") == ["open"]
        assert await found(since_ms=NOW_MS + 1000, until_ms=NOW_MS + 3000) == ["t2", "t1"]
        page = await ledger.bus.rpc.ask(LEDGER_LIST, LedgerList(tenant_id="acme", status="OK", limit=3))
        assert page.next is not None
        assert await found(status="OK", before=page.next) == ["t0"]


async def test_a_crash_between_commit_and_its_answer_repeats_nothing(settings: LedgerSettings) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    await live_one(bus, "t1", 10)
    entries = await entries_of(bus)
    async with open_ledger_sink(settings) as sink:
        await sink.write(batch(entries[:2], None))
    async with open_ledger_sink(settings) as sink:  # the answer was lost: a new life asks
        at = await sink.position()
        assert at is not None
        assert at.sequence == 2
        await sink.write(batch(entries, at))
        with pytest.raises(Conflict):
            await sink.write(batch(entries, at))
    (bill,) = await fetch(settings, "SELECT cost_nanousd FROM usage_billing")
    (task,) = await fetch(settings, "SELECT cost_nanousd, attempts, state FROM tasks")
    assert (bill["cost_nanousd"], tuple(task.values())) == (10, (10, 1, "ended"))


@pytest.mark.parametrize("cuts", [(), (3,), (2, 3), (1, 2, 3, 4, 5)], ids=str)
async def test_an_id_used_again_after_the_window_is_a_task_of_its_own(
    settings: LedgerSettings, cuts: tuple[int, ...]
) -> None:
    story = Story()
    last = story.ended("t1", 30)
    first: list[LogEvent] = [story.accepted("t1"), story.attempt_failed("t1", 5), story.ended("t1", 10, b=1)]
    second: list[LogEvent] = [story.accepted("t1", later_ms=9000), story.routed("t1", later_ms=9000), last]
    entries = [story.entry(number, event) for number, event in enumerate(first + second, start=1)]
    await write_in_pieces(settings, entries[:5], tuple(cut for cut in cuts if cut < 5))
    (task,) = await fetch(settings, "SELECT * FROM tasks")
    assert (task["state"], task["status"], task["outcome"], task["result"]) == ("routed", None, None, None)
    assert (task["accepted_at_ms"], task["ended_at_ms"], task["cost_nanousd"]) == (NOW_MS + 9000, None, 0)
    assert (task["attempts"], task["attempts_cost_nanousd"]) == (1, 0)
    await write_in_pieces(settings, entries[5:], ())
    (task,) = await fetch(settings, "SELECT * FROM tasks")
    assert (task["status"], task["cost_nanousd"], task["attempts"]) == ("OK", 30, 1)
    assert (task["first_sequence"], task["accepted_sequence"], task["last_sequence"]) == (4, 4, 6)
    assert task["result"] == encode(canonical_result(last)).decode()
    bills = await fetch(settings, "SELECT sequence, cost_nanousd FROM usage_billing ORDER BY sequence")
    assert [tuple(bill.values()) for bill in bills] == [(3, 10), (6, 30)]


async def write_in_pieces(settings: LedgerSettings, entries: list[Entry], cuts: tuple[int, ...]) -> None:
    async with open_ledger_sink(settings) as sink:
        for start, end in zip((0, *cuts), (*cuts, len(entries)), strict=True):
            await sink.write(batch(entries[start:end], await sink.position()))


async def test_numbers_at_their_bounds_and_their_sums_fit_the_columns(settings: LedgerSettings) -> None:
    story = Story()
    usage = Usage(latency_ms=2**53, tokens=2**53, cost_nanousd=MAX_NANOUSD)
    events: list[LogEvent] = [changed(story.attempt_failed("t1", MAX_NANOUSD), at_ms=2**53) for _ in range(900)]
    events.append(changed(story.ended("t1"), usage=usage, at_ms=2**53))
    entries = [story.entry(number, event) for number, event in enumerate(events, start=1)]
    await write_in_pieces(settings, entries, (400, 900))
    (task,) = await fetch(settings, "SELECT attempts_cost_nanousd FROM tasks")
    assert task["attempts_cost_nanousd"] == 900 * MAX_NANOUSD
    assert len(await fetch(settings, "SELECT 1 FROM usage_billing")) == 1


async def test_ids_and_numbers_that_no_column_holds_hold_up_nothing(settings: LedgerSettings) -> None:
    story = Story()
    entries = [
        story.entry(1, changed(story.ended("t1"), at_ms=2**63)),
        story.entry(2, changed(story.ended("t2"), usage=Usage(latency_ms=1, tokens=2**64))),
        story.entry(3, changed(story.accepted("t3"), event_id=EventId("nul \0"))),
        story.entry(4, changed(story.ended("t4"), event_id=EventId("nul \0"))),
        story.entry(5, changed(story.accepted("t5"), event_id=EventId("e" * 100_000))),
    ]
    await write_in_pieces(settings, entries, (1, 2, 3, 4))
    kept = await fetch(settings, "SELECT sequence FROM unreadable ORDER BY 1")
    assert [row["sequence"] for row in kept] == [1, 2, 5]


@pytest.mark.parametrize("cuts", [(), (1,), (2,), (1, 2)], ids=str)
async def test_a_second_end_of_a_task_is_billed_alike_wherever_batches_are_cut(
    settings: LedgerSettings, cuts: tuple[int, ...]
) -> None:
    story = Story()
    events: list[LogEvent] = [story.accepted("t1"), story.ended("t1", 10), story.ended("t1", 20)]
    entries = [story.entry(number, event) for number, event in enumerate(events, start=1)]
    await write_in_pieces(settings, entries, cuts)
    (task,) = await fetch(settings, "SELECT cost_nanousd, last_sequence FROM tasks")
    assert tuple(task.values()) == (30, 3)
    bills = await fetch(settings, "SELECT cost_nanousd FROM usage_billing ORDER BY sequence")
    assert [bill["cost_nanousd"] for bill in bills] == [10, 20]


async def test_an_end_larger_than_any_bus_carries_has_its_row_and_its_bill(settings: LedgerSettings) -> None:
    story, text = Story(), random.Random(1).randbytes(16 << 20).hex()
    huge = story.ended("t1", 700, text=text)
    entries = [story.entry(1, story.accepted("t1")), story.entry(2, huge), story.entry(3, story.ended("t2", 30))]
    await write_in_pieces(settings, entries, ())
    (task,) = await fetch(settings, "SELECT result FROM tasks WHERE task_id = 't1'")
    assert task["result"] == encode(canonical_result(huge)).decode()
    bills = await fetch(settings, "SELECT cost_nanousd FROM usage_billing ORDER BY sequence")
    assert [bill["cost_nanousd"] for bill in bills] == [700, 30]


async def test_a_write_that_fails_in_the_middle_leaves_nothing(settings: LedgerSettings) -> None:
    bus = MemoryBus(MemoryServer())
    await live_one(bus, "t1", 10)
    entries = await entries_of(bus)
    async with open_ledger_sink(settings) as sink:
        pass
    async with writing_connection(settings) as connection:
        await connection.execute("ALTER TABLE usage_billing ADD CONSTRAINT refuse CHECK (cost_nanousd <> 10)")
    with pytest.raises(asyncpg.CheckViolationError):
        async with open_ledger_sink(settings) as sink:
            await sink.write(batch(entries, None))
    async with open_ledger_sink(settings) as sink:
        assert await sink.position() is None
    assert await fetch(settings, "SELECT 1 FROM tasks") == []


async def test_of_two_ledgers_one_writes_and_the_other_stands_by_until_its_turn(settings: LedgerSettings) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    async with Running(server, settings).serving() as one, Running(server, settings).serving() as other:
        both = (one.actor, other.actor)
        await until(lambda: sorted(bool(it.status()["standby"]) for it in both) == [False, True])
        first = min(both, key=lambda it: bool(it.status()["standby"]))
        for number in range(300):
            await live_one(bus, f"t{number}", number)
            await asyncio.sleep(0.001)
            if number == 150:
                await end_writer(settings)
        await until(lambda: max(int(str(it.status()["sequence"])) for it in both) >= 900)
        assert [it.ready() for it in both] == [None, None]
        assert sum(int(str(it.status()["failures"])) for it in both) == 1
        assert int(str(first.status()["failures"])) == 1
    (row,) = await fetch(settings, "SELECT count(*) AS n, sum(attempts) AS a, sum(cost_nanousd) AS c FROM tasks")
    assert (row["n"], row["a"], int(row["c"])) == (300, 300, sum(range(300)))


async def end_writer(settings: LedgerSettings) -> None:
    """The server ends the session that holds the claim, as it does when a connection dies."""
    async with writing_connection(settings) as killer:
        rows = await killer.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    assert [tuple(row.values()) for row in rows] == [(True,)]


async def test_a_writer_that_falls_silent_gives_way(settings: LedgerSettings) -> None:
    brief = settings.model_copy(update={"silence_s": 1.0})
    async with open_ledger_sink(brief) as silent, open_ledger_sink(brief) as next_one:
        assert await silent.claim()
        began = asyncio.get_running_loop().time()
        while not await next_one.claim():  # noqa: ASYNC110 - a database's patience
            await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() - began > 0.8
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await silent.claim()


async def test_a_writer_that_rests_keeps_its_claim(settings: LedgerSettings) -> None:
    brief = settings.model_copy(update={"silence_s": 1.0})
    async with Running(MemoryServer(), brief).serving() as resting, open_ledger_sink(brief) as other:
        await until(lambda: resting.actor.ready() is None)
        for _ in range(12):
            assert not await other.claim()
            await asyncio.sleep(0.2)
        assert resting.actor.status()["failures"] == 0


async def test_two_that_write_without_a_claim_write_each_event_once(settings: LedgerSettings) -> None:
    """The lock is a courtesy: compare-and-set of the position is the guarantee."""
    bus = MemoryBus(MemoryServer())
    for number in range(3):
        await live_one(bus, f"t{number}", 10)
    entries = await entries_of(bus)
    async with open_ledger_sink(settings) as one, open_ledger_sink(settings) as other:
        at = await asyncio.gather(one.position(), other.position())
        done = await asyncio.gather(
            *(sink.write(batch(entries, None)) for sink in (one, other)), return_exceptions=True
        )
    assert set(at) == {None}
    assert {type(outcome) for outcome in done} == {type(None), Conflict}
    (row,) = await fetch(settings, "SELECT count(*) AS n, sum(cost_nanousd) AS c FROM usage_billing")
    assert (row["n"], int(row["c"])) == (3, 30)


async def test_a_killed_connection_is_replaced_and_nothing_is_lost(settings: LedgerSettings) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    async with Running(server, settings).serving() as ledger:
        for number in range(100):
            await live_one(bus, f"t{number}", 1)
            if number % 25 == 10:
                await ledger.reach(3)
                async with writing_connection(settings) as killer:
                    await killer.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'aion-ledger' AND pid <> pg_backend_pid()"
                        " AND datname = current_database()"
                    )
        await ledger.reach(300)
        assert int(str(ledger.actor.status()["failures"])) > 0
    (row,) = await fetch(settings, "SELECT count(*) AS n, sum(cost_nanousd) AS c FROM usage_billing")
    assert (row["n"], int(row["c"])) == (100, 100)


async def test_another_log_halts_the_ledger(settings: LedgerSettings) -> None:
    first, second = MemoryServer(), MemoryServer(lambda: NOW_MS * 1_000_000)
    await live_one(MemoryBus(first), "t1", 1)
    async with Running(first, settings).serving() as ledger:
        await ledger.reach(3)
    await live_one(MemoryBus(second), "t2", 1)
    with pytest.raises(ProjectionHalted, match="another one"):
        await Running(second, settings).actor.run()
    assert len(await fetch(settings, "SELECT 1 FROM tasks")) == 1


async def test_audit_and_unreadable_events_are_kept(settings: LedgerSettings) -> None:
    bus = MemoryBus(MemoryServer())
    await bus.log.audit(changed(Story().audit("\0"), actor="edge\0"))
    garbage = Entry(2, 0, "aion.task.x", b"\x00\xff")
    async with open_ledger_sink(settings) as sink:
        await sink.write(batch([*await entries_of(bus), garbage], None))
    (audit,) = await fetch(settings, "SELECT tenant_id, kind, actor FROM audit_activity")
    assert tuple(audit.values()) == ("acme", "login", "edge\ufffd")
    (kept,) = await fetch(settings, "SELECT data FROM unreadable")
    assert kept["data"] == b"\x00\xff"


async def test_any_number_may_migrate_at_once_and_altered_files_are_refused(settings: LedgerSettings) -> None:
    async def once() -> int:
        async with writing_connection(settings) as connection:
            return await migrate(connection, migrations(), timeout_s=10)

    assert sorted(await asyncio.gather(*(once() for _ in range(4)))) == [0, 0, 0, len(migrations())]
    altered = tuple(Migration(one.version, one.name, one.sql + " ") for one in migrating.migrations())
    async with writing_connection(settings) as connection:
        with pytest.raises(Misconfigured, match="altered"):
            await migrate(connection, altered, timeout_s=10)


async def test_the_rows_of_an_older_ledger_are_kept_and_their_ids_may_be_used_again(settings: LedgerSettings) -> None:
    story = Story()
    async with writing_connection(settings) as connection:
        await migrate(connection, migrations()[:1], timeout_s=10)
        await connection.execute(
            "INSERT INTO tasks (tenant_id, task_id, intent, state, status, accepted_at_ms, cost_nanousd,"
            " first_sequence, last_sequence) VALUES ('acme', 't1', 'summarize', 'ended', 'OK', 1, 10, 1, 3)"
        )
        await connection.execute(
            "INSERT INTO usage_billing VALUES"
            " ('acme', 't1', 'e', 'summarize', NULL, 'api', 'completed', 1, 1, 10, 2, 3)"
        )
    await write_in_pieces(settings, [story.entry(4, story.accepted("t1")), story.entry(5, story.ended("t1", 30))], ())
    (task,) = await fetch(settings, "SELECT cost_nanousd, first_sequence FROM tasks")
    assert tuple(task.values()) == (30, 4)
    bills = await fetch(settings, "SELECT cost_nanousd FROM usage_billing ORDER BY sequence")
    assert [bill["cost_nanousd"] for bill in bills] == [10, 30]


async def test_questions_say_unavailable_when_the_database_is_away() -> None:
    away = LedgerSettings(url="postgresql://aion@127.0.0.1:1/aion", query_timeout_s=1)
    async with Running(MemoryServer(), away).serving() as ledger:
        with pytest.raises(Unavailable, match="does not answer"):
            await ledger.bus.rpc.ask(LEDGER_GET, LedgerGet(tenant_id="acme", task_id="t1"))
        assert ledger.actor.ready() is not None
