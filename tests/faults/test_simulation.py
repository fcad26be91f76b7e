"""The simulation is quiet on the code as it is, the same in every run, and finds what is planted."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest
from simulation.many import Tally, play_all
from simulation.sinks import KafkaStore, LedgerStore
from simulation.world import digest, play

import edge.rest.submission
import edge.tasks.acceptance
import edge.tasks.cancel
import edge.tasks.intake
import edge.tasks.reading
from actors.runtime import Context
from actors.runtime.crew import Crew
from actors.runtime.suspects import Suspects
from actors.sweeper.actor import Sweeper
from actors.sweeper.open_tasks import OpenTask, OpenTasks
from bridges.position import Batch
from bridges.projection import Projection, Sink
from bus.memory.log_store import LogStore
from bus.memory.queue import MemoryDelivery
from bus.persist import persist
from bus.port import Delivery, Entry, Log
from bus.subjects import of_event, task_subject
from edge.identity.caller import Caller
from edge.identity.credentials import Credentials
from edge.tasks.acceptance import Taken
from edge.tasks.request import Naming
from executors.wasm.actor import WasmExecutor
from schemas.errors import Unavailable, WrongSequence
from schemas.events import Accepted, AttemptFailed, Ended, TaskEvent
from schemas.ids import TaskId, TenantId, uuid7
from schemas.message import changed
from schemas.scopes import DEFAULT, reach

pytestmark = pytest.mark.alone

SEEDS = 240
FOUND_WITHIN = 120


def test_some_hundreds_of_seeds_are_valid_and_every_fault_happens_in_them() -> None:
    tally = Tally()
    for result in play_all(0, SEEDS, jobs=os.cpu_count() or 1):
        tally.add(result)
    assert tally.seeds == SEEDS
    assert not tally.failed, tally.failed[0][1].report(1)
    assert not tally.missing


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_a_seed_gives_the_same_history_byte_for_byte_in_any_process(hash_seed: str) -> None:
    seeds = [3, 14, 159]
    program = f"from simulation.world import digest, play\nfor seed in {seeds}: print(digest(play(seed)))"
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[1])])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert printed.stdout.split() == [digest(play(seed)) for seed in seeds]
    assert len(set(printed.stdout.split())) == len(seeds)


CLOCKS = frozenset(name for name in dir(time) if name.removesuffix("_ns").endswith(("time", "monotonic", "counter")))
SEEN_BY_NOBODY = {"edge/http/answer.py": "the field Date", "executors/wasm/sandbox.py": "how long a caller waited"}


def test_nothing_that_decides_anything_reads_a_real_clock() -> None:
    readers: set[str] = set()

    def note(frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and getattr(called, "__module__", "") == "time" and called.__name__ in CLOCKS:  # type: ignore[attr-defined]
            readers.add(frame.f_code.co_filename)

    play(3)  # whatever is imported or made once per process is
    sys.setprofile(note)
    try:
        for seed in (3, 14, 159):
            play(seed)
    finally:
        sys.setprofile(None)
    root = Path(__file__).parents[2]
    found = {os.path.relpath(name, root) for name in readers if "hypothesis" not in name}  # it times collections
    assert found == set(SEEN_BY_NOBODY)


Plant = Callable[[pytest.MonkeyPatch], None]
DEFECTS: list[Any] = []


def defect(*rules: str) -> Callable[[Plant], Plant]:
    """A fault to plant, and the rules that may find it."""

    def add(plant: Plant) -> Plant:
        DEFECTS.append(pytest.param(plant, set(rules), id=plant.__name__))
        return plant

    return add


async def force(log: Log, event: TaskEvent, give_up_s: float) -> None:
    """Append after whatever is the task's last event now."""
    last = await log.last(event.tenant_id, event.task_id)
    await persist(log, event, after=last.sequence if last else 0, give_up_s=give_up_s)


@defect("second_end", "event_after_end", "illegal_transition")
def the_log_does_not_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    def append(self: LogStore, event: TaskEvent, after: int) -> int:
        return self._store(event, of_event(event))

    monkeypatch.setattr(LogStore, "append", append)


@defect("task_lost")
def the_edge_says_accepted_before_the_log_does(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = edge.tasks.acceptance.accept

    async def hopeful(log: Log, event: Accepted, *, keyed: bool, within_s: float) -> Taken:
        try:
            return await accept(log, event, keyed=keyed, within_s=within_s)
        except Unavailable:
            return Taken(event.task_id, False, event.at_ms)

    monkeypatch.setattr(edge.tasks.intake, "accept", hopeful)


@defect("one_reference_two_tasks")
def an_idempotency_key_names_a_new_task_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(1)

    def name_task(*_: object) -> Naming:
        return Naming(TaskId(uuid7(1, rng.randbytes(10))), keyed=True)

    monkeypatch.setattr(edge.rest.submission, "name_task", name_task)


@defect("answered_with_another")
def a_key_that_comes_back_with_another_body_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.tasks.acceptance.fingerprint", lambda _: "same")


@defect("second_end", "event_after_end", "illegal_transition")
def a_sweeper_ends_what_has_moved_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(self: Sweeper, task: OpenTask) -> None:
        await force(self.context.bus.log, self._timeout(task), 1.0)

    monkeypatch.setattr(Sweeper, "_end", end)


@defect("never_ended")
def a_sweeper_forgets_what_was_routed(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = OpenTasks.apply

    def forgetful(self: OpenTasks, entry: Entry) -> None:
        apply(self, entry)
        event = task_subject(entry.subject)
        if event is not None and event.event == "routed":
            self._open.pop((event.tenant_id, event.task_id), None)

    monkeypatch.setattr(OpenTasks, "apply", forgetful)


@defect("never_ended", "late_end")
def a_sweeper_tries_each_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenTasks, "again", lambda *_: None)


@defect("early_timeout")
def a_sweeper_is_hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    overdue = OpenTasks.overdue
    monkeypatch.setattr(OpenTasks, "overdue", lambda self, before_ms, limit: overdue(self, before_ms + 3000, limit))


@defect("second_end", "event_after_end", "illegal_transition")
def an_executor_that_lost_its_lease_appends_after_whatever_is_last(monkeypatch: pytest.MonkeyPatch) -> None:
    async def persevering(log: Log, event: TaskEvent, *, after: int, give_up_s: float) -> int:
        try:
            return await persist(log, event, after=after, give_up_s=give_up_s)
        except WrongSequence:
            await force(log, event, give_up_s)
            return after

    monkeypatch.setattr("executors.wasm.actor.persist", persevering)


@defect("kills_on")
def an_executor_trusts_what_others_were_lost_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.runtime.suspects.TRUSTED", 1_000_000)


@defect("innocent_given_up")
def an_executor_clears_nobody_of_suspicion(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(*_: object) -> None:
        return

    monkeypatch.setattr(Suspects, "_clear", keep)
    monkeypatch.setattr("actors.runtime.suspects.MOST_LOST", 1)


@defect("answer_differs")
def a_cancel_that_lost_the_race_says_that_it_won(monkeypatch: pytest.MonkeyPatch) -> None:
    end = edge.tasks.cancel._end

    async def boasting(context: Context, entries: Any, mark: Any, within_s: float) -> Ended | None:
        won = await end(context, entries, mark, within_s)
        events = [entry.event() for entry in entries]
        return won or edge.tasks.cancel.cancelled_event(events, mark)

    monkeypatch.setattr(edge.tasks.cancel, "_end", boasting)


@defect("answer_without_end", "one_reference_two_tasks", "answered_with_another", "refused_task_exists")
def an_edge_takes_every_key_for_one_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Credentials, "caller_of", lambda *_: Caller(TenantId("acme"), "key:any", reach(DEFAULT)))


@defect("replay_differs", "answer_differs")
def an_answer_tells_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    render = edge.tasks.reading.result_bytes
    told: Iterator[int] = iter(range(10**9))

    def chatty(ended: Ended) -> bytes:
        return render(changed(ended, usage=changed(ended.usage, latency_ms=next(told))))

    monkeypatch.setattr(edge.tasks.intake, "result_bytes", chatty)


@defect("kafka_missing", "kafka_skipped", "ledger_missing", "ledger_differs", "not_billed", "crash")
def a_projection_takes_a_failed_write_for_done(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Projection._write

    async def trusting(self: Projection, sink: Sink, batch: Batch) -> None:
        try:
            await write(self, sink, batch)
        except ConnectionError:
            return

    monkeypatch.setattr(Projection, "_write", trusting)


@defect("kafka_missing", "kafka_skipped")
def a_sink_stores_its_position_before_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(self: KafkaStore, batch: Batch, epoch: int) -> None:
        self.position = batch.up_to
        await self._steps.step("begin")
        self.commit(self._encoder.encode(batch.entries), batch.up_to)

    monkeypatch.setattr(KafkaStore, "write", write)


@defect("kafka_duplicate")
def a_sink_stores_its_position_after_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(self: KafkaStore, batch: Batch, epoch: int) -> None:
        at = self.position
        records = self._encoder.encode(batch.entries)
        self.records += map(self._record, records)
        await self._steps.step("begin")
        self.position = batch.up_to if self.position == at else self.position

    monkeypatch.setattr(KafkaStore, "write", write)


@defect("kafka_duplicate", "kafka_reordered", "position_behind")
def a_resumed_bridge_is_not_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    write = KafkaStore.write
    monkeypatch.setattr(KafkaStore, "write", lambda self, batch, _: write(self, batch, self.epoch))


@defect("kafka_skipped", "kafka_missing", "ledger_missing", "not_billed", "ledger_differs")
def a_projection_begins_one_event_late(monkeypatch: pytest.MonkeyPatch) -> None:
    move = LedgerStore.commit

    def lose(self: LedgerStore, folded: Any, position: Any) -> None:
        if self.position is None:
            folded = replace(folded, tasks=dict(list(folded.tasks.items())[1:]))
        move(self, folded, position)

    monkeypatch.setattr(LedgerStore, "commit", lose)


@defect("needless_timeout")
def a_crew_answers_before_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(self: Crew, delivery: Delivery) -> None:
        await delivery.done()
        await self._outcome(delivery)

    monkeypatch.setattr(Crew, "_handle", handle)


@defect("attempts_not_billed")
def a_router_forgets_what_attempts_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AttemptFailed, "spent_in_all_nanousd", 0)


@defect("crash")
def a_sweeper_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep_window(self: Sweeper, *_: object) -> None:
        while not self.context.draining.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0)

    monkeypatch.setattr(Sweeper, "_keep_window", keep_window)


@defect("crash")
def a_handler_answers_its_delivery_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = WasmExecutor.execute

    async def twice(self: WasmExecutor, delivery: MemoryDelivery) -> None:
        await execute(self, delivery)
        await delivery.done()

    monkeypatch.setattr(WasmExecutor, "execute", twice)


@pytest.mark.parametrize(("plant", "rules"), DEFECTS)
def test_a_planted_defect_is_found(plant: Plant, rules: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(FOUND_WITHIN):
        found = set(play(seed).verdict.rules)
        if found & rules:
            return
    pytest.fail(f"not found within {FOUND_WITHIN} seeds")
