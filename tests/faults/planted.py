"""A clean history, and every defect that the checker must see, planted one at a time."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from checker.history import (
    AUDIT,
    DEAD_LETTERS,
    EVENTS,
    USAGE,
    History,
    KafkaRecord,
    LogEntry,
    Nemesis,
    Reading,
    Submission,
    TaskRow,
    UsageRow,
)

BEGIN = 100
PLAIN = ("accepted", "routed", "ended")
PAID = ("accepted", "routed", "started", "attempt_failed", "routed", "started", "ended")
OVERDUE = ("accepted", "ended")


def entry(sequence: int, task: str, event: str) -> LogEntry:
    lane = {"ended": "completed", "accepted": "normal", "attempt_failed": "normal"}.get(event, "wasm-normal")
    body: dict[str, Any] = {"event": event, "event_id": f"id-{sequence}"}
    if event == "accepted":
        body |= {"metadata": {"ref": f"ref-{task}", "variant": "a"}, "brief": {"deadline_ms": 60_000}}
        body |= {"params": {"text": "the canary of acme"}}
    if event == "ended":
        usage = {"cost_nanousd": 1_500, "tokens": 7, "latency_ms": 3}
        body |= {"outcome": "completed", "intent": "summarize", "result": {"n": sequence}, "usage": usage}
    body |= {"tenant_id": "acme", "task_id": task}
    return LogEntry(sequence, f"aion.task.{event}.{lane}.acme.{task}", 1000 + sequence, body)


def result_of(log: Sequence[LogEntry], task: str) -> bytes:
    """The canonical result as a client gets it."""
    end = next(e for e in log if e.event == "ended" and e.task is not None and e.task.task_id == task)
    usage = {"latency_ms": 3, "tokens": 7, "cost_usd": 0.0000015}
    shown = {"task_id": task, "intent": "summarize", "status": "OK", "result": end.body["result"], "usage": usage}
    return json.dumps(shown).encode()


def projected(log: Sequence[LogEntry]) -> list[KafkaRecord]:
    records: list[KafkaRecord] = []
    for e in log:
        headers = {"aion_seq": str(e.sequence)}
        if e.task is None:
            records.append(KafkaRecord(AUDIT, 0, len(records), "acme", headers, e.body))
            continue
        task = e.task.task_id
        records.append(KafkaRecord(EVENTS, int(task[1]) % 2, len(records), task, headers, e.body))
        if e.event == "ended":
            said = ("tenant_id", "task_id", "event_id", "intent", "outcome")
            usage = {**e.body["usage"], **{field: e.body.get(field) for field in said}}
            records.append(KafkaRecord(USAGE, 0, len(records), task, headers, usage))
    return records


def clean() -> History:
    """Four tasks whose events interleave, one audit event, one submission without an answer."""
    lives = {"t0": list(PLAIN), "t1": list(PAID), "t2": list(OVERDUE), "t3": list(PLAIN)}
    log: list[LogEntry] = []
    while any(lives.values()):
        for task, events in lives.items():
            if events:
                log.append(entry(BEGIN + 1 + len(log), task, events.pop(0)))
    end = BEGIN + 1 + len(log)
    log.append(LogEntry(end, "aion.audit.acme.key_created", 1000 + end, {"event": "audit", "event_id": "a"}))
    return History(
        begin=BEGIN,
        end=end,
        submissions=[
            Submission(f"ref-{task}", "ok", task, 1000, "202", "acme", "a", timeout_ms=59_000) for task in lives
        ]
        + [Submission("ref-t0", "info", None, 990, "reset", "acme", "a")]
        + [Submission("ref-never", "fail", None, 990, "429", "acme", "a")]
        + [Submission("ref-t1", "ok", "t1", 2000, "200", "acme", "a", result_of(log, "t1"))]
        + [Submission("ref-t1", "fail", None, 2000, "422 key_reused", "acme", "b")],
        log=log,
        kafka=projected(log),
        tasks=[
            TaskRow("acme", task, "ended", "completed", 1_500, attempts)
            for task, attempts in (("t0", 1), ("t1", 2), ("t2", 0), ("t3", 1))
        ],
        usage=[UsageRow("acme", task, 1_500, 7, 3, "completed") for task in lives],
        positions={"kafka": end, "ledger": end},
        nemesis=[Nemesis(1105, "SIGKILL router")],
        readings=[
            Reading("acme", "t1", 2010, "get", 200, result_of(log, "t1")),
            Reading("acme", "t0", 2010, "get", 200),
            Reading("acme", "t3", 2020, "stream", 200, result_of(log, "t3"), sequences_of(log, "t3")),
            Reading("evil", "t1", 2030, "get", 404),
        ],
        canaries={"acme": "the canary of acme", "evil": "the canary of evil"},
    )


def sequences_of(log: Sequence[LogEntry], task: str) -> tuple[int, ...]:
    return tuple(e.sequence for e in log if e.task is not None and e.task.task_id == task)


def of(history: History, task: str, event: str) -> LogEntry:
    return next(e for e in history.log if e.task is not None and e.task.task_id == task and e.event == event)


def without_events(history: History, task: str, *events: str) -> History:
    """As if those events had never been stored anywhere, so that only the task's own life is wrong."""
    gone = {e.sequence for e in history.log if e.task and e.task.task_id == task and e.event in events}
    return replace(
        history,
        log=[e for e in history.log if e.sequence not in gone],
        kafka=[r for r in history.kafka if r.sequence not in gone],
    )


def appended(history: History, *added: LogEntry) -> History:
    """As if `added` had been stored and projected last, in all good order."""
    log = [*history.log, *(e._replace(sequence=history.end + 1 + n) for n, e in enumerate(added))]
    end = log[-1].sequence
    return replace(history, log=log, kafka=projected(log), end=end, positions={"kafka": end, "ledger": end})


def records(history: History, change: Callable[[list[KafkaRecord]], object]) -> History:
    kafka = list(history.kafka)
    change(kafka)
    return replace(history, kafka=kafka)


def position_of(history: History, sequence: int, topic: str = EVENTS) -> int:
    return next(n for n, r in enumerate(history.kafka) if (r.topic, r.sequence) == (topic, sequence))


def altered_record(history: History, number: int, **changes: Any) -> History:
    return records(history, lambda kafka: kafka.__setitem__(number, kafka[number]._replace(**changes)))


def duplicate_in_kafka(history: History) -> History:
    return records(history, lambda kafka: kafka.append(kafka[5]._replace(offset=999)))


def gap_in_kafka(history: History) -> History:
    return records(history, lambda kafka: kafka.pop(position_of(history, of(history, "t1", "routed").sequence)))


def tail_missing_in_kafka(history: History) -> History:
    shorter = records(history, lambda kafka: kafka.pop())
    return replace(shorter, positions={**shorter.positions, "kafka": shorter.end - 1})


def reordered_in_kafka(history: History) -> History:
    first = position_of(history, of(history, "t0", "routed").sequence)
    second = position_of(history, of(history, "t0", "ended").sequence)
    one, two = history.kafka[first], history.kafka[second]
    swapped = altered_record(history, first, offset=two.offset)
    return altered_record(swapped, second, offset=one.offset)


def altered_in_kafka(history: History) -> History:
    return altered_record(history, 2, body={**history.kafka[2].body, "event_id": "forged"})


def usage_off_in_kafka(history: History) -> History:
    number = next(n for n, r in enumerate(history.kafka) if r.topic == USAGE)
    return altered_record(history, number, body={**history.kafka[number].body, "cost_nanousd": 1_501})


def replayed_from_before(history: History) -> History:
    old = history.kafka[0]._replace(offset=998, headers={"aion_seq": str(BEGIN - 3)})
    return records(history, lambda kafka: kafka.append(old))


def routed_in_usage(history: History) -> History:
    sequence = of(history, "t0", "routed").sequence
    stray = history.kafka[position_of(history, sequence)]._replace(topic=USAGE, offset=997)
    return records(history, lambda kafka: kafka.append(stray))


def dead_letter(history: History) -> History:
    letter = history.kafka[3]._replace(topic=DEAD_LETTERS, offset=0, key=str(history.kafka[3].sequence))
    return records(history, lambda kafka: kafka.append(letter))


def wrong_key(history: History) -> History:
    return altered_record(history, 1, key="t9")


def key_split(history: History) -> History:
    return altered_record(history, position_of(history, of(history, "t1", "started").sequence), partition=4)


def lost_task(history: History) -> History:
    return replace(history, submissions=[*history.submissions, Submission("ref-t7", "ok", "t7", 1000, "202")])


def second_end(history: History) -> History:
    return appended(history, entry(0, "t0", "ended"))


def event_after_end(history: History) -> History:
    return appended(history, entry(0, "t0", "attempt_failed"))


def started_twice(history: History) -> History:
    return appended(history, entry(0, "t8", "accepted"), entry(0, "t8", "started"), entry(0, "t8", "ended"))


def late_end(history: History) -> History:
    late = of(history, "t2", "ended")
    return replace(history, log=[e._replace(at_ms=65_001) if e == late else e for e in history.log])


def ended_as(history: History, task: str, outcome: str) -> History:
    """As if the task had ended so, and every copy had followed."""
    end = of(history, task, "ended")
    log = [e._replace(body={**e.body, "outcome": outcome}) if e == end else e for e in history.log]
    tasks = [t._replace(outcome=outcome) if t.task_id == task else t for t in history.tasks]
    usage = [u._replace(outcome=outcome) if u.task_id == task else u for u in history.usage]
    return replace(history, log=log, kafka=projected(log), tasks=tasks, usage=usage)


def costly_attempt(history: History) -> History:
    failed = of(history, "t1", "attempt_failed")
    log = [e._replace(body={**e.body, "cost_nanousd": 1_501}) if e == failed else e for e in history.log]
    return replace(history, log=log, kafka=projected(log))


def without_deadline(history: History) -> History:
    first = of(history, "t2", "accepted")
    log = [e._replace(body={**e.body, "brief": {}}) if e == first else e for e in history.log]
    return replace(history, log=log, kafka=projected(log))


def other_deadline(history: History, by_ms: int) -> History:
    first = of(history, "t2", "accepted")
    brief = {"deadline_ms": first.body["brief"]["deadline_ms"] + by_ms}
    log = [e._replace(body={**e.body, "brief": brief}) if e == first else e for e in history.log]
    return replace(history, log=log, kafka=projected(log))


def stored_by_a_refused_attempt(history: History) -> History:
    """The client was refused, came again a second later, and was told that its task is accepted."""
    refused = Submission("ref-t3", "fail", None, 1000, "503 overloaded", "acme", "a")
    later = [s._replace(at_ms=2000) if s.ref == "ref-t3" else s for s in history.submissions]
    return replace(history, submissions=[*later, refused])


def told_before_stored(history: History, event: str) -> History:
    """As if the answer had been there ten milliseconds before the event."""
    early_ms = of(history, "t1", event).at_ms - 10
    told = [s._replace(answered_ms=early_ms) if s.body else s for s in history.submissions]
    return replace(history, submissions=told)


def anothers_usage(history: History) -> History:
    number = next(n for n, r in enumerate(history.kafka) if r.topic == USAGE)
    return records(history, lambda kafka: kafka.__setitem__(number, _of_another(kafka[number])))


def _of_another(record: KafkaRecord) -> KafkaRecord:
    return record._replace(body={**record.body, "task_id": "t9", "tenant_id": "evil"})


def mismatched_subject(history: History) -> History:
    wrong = of(history, "t3", "routed")
    log = [e._replace(body={**e.body, "event": "started"}) if e == wrong else e for e in history.log]
    return replace(history, log=log, kafka=projected(log))


def hole_in_log(history: History) -> History:
    return without_events(history, "t1", "started")


def read_twice(history: History) -> History:
    return replace(history, log=[*history.log, history.log[4]])


def refused_and_stored(history: History) -> History:
    submissions = [s._replace(kind="fail", task_id=None) if s.ref == "ref-t3" else s for s in history.submissions]
    return replace(history, submissions=submissions)


def nobody_asked(history: History) -> History:
    return replace(history, submissions=[s for s in history.submissions if s.ref != "ref-t3"])


def two_tasks_for_one(history: History) -> History:
    submissions = [s._replace(ref="ref-t0") if s.ref == "ref-t1" else s for s in history.submissions]
    return replace(history, submissions=submissions)


def nameless_answer(history: History) -> History:
    return replace(history, submissions=[*history.submissions, Submission("ref-t0", "ok", None, 1001, "202")])


def rows(history: History, **changes: Any) -> History:
    first, *rest = history.tasks
    return replace(history, tasks=[first._replace(**changes), *rest])


def bills(history: History, **changes: Any) -> History:
    first, *rest = history.usage
    return replace(history, usage=[first._replace(**changes), *rest])


def resubmitted(history: History, number: int, **changes: Any) -> History:
    submissions = list(history.submissions)
    submissions[number] = submissions[number]._replace(**changes)
    return replace(history, submissions=submissions)


def reread(history: History, number: int, **changes: Any) -> History:
    readings = list(history.readings)
    readings[number] = readings[number]._replace(**changes)
    return replace(history, readings=readings)


def altered_replay(history: History) -> History:
    return resubmitted(history, -2, body=result_of(history.log, "t1").replace(b'"tokens": 7', b'"tokens":  7'))


def forged_result(history: History) -> History:
    forged = result_of(history.log, "t1").replace(b'"OK"', b'"ERROR"')
    return reread(resubmitted(history, -2, body=forged), 0, body=forged)


def result_of_an_open_task(history: History) -> History:
    known = history.readings[2].sequences[:-1]
    return reread(without_events(history, "t3", "ended"), 2, sequences=known)


def moved_to_another_tenant(history: History) -> History:
    """As if the edge had stored t2 for somebody else, and every copy had followed."""
    log = [
        e._replace(subject=e.subject.replace(".acme.t2", ".evil.t2"), body={**e.body, "tenant_id": "evil"})
        if e.task is not None and e.task.task_id == "t2"
        else e
        for e in history.log
    ]
    tasks = [t._replace(tenant_id="evil") if t.task_id == "t2" else t for t in history.tasks]
    usage = [u._replace(tenant_id="evil") if u.task_id == "t2" else u for u in history.usage]
    return replace(history, log=log, kafka=projected(log), tasks=tasks, usage=usage, canaries={})


def wrong_tenant_in_body(history: History) -> History:
    wrong = of(history, "t3", "routed")
    log = [e._replace(body={**e.body, "tenant_id": "evil"}) if e == wrong else e for e in history.log]
    return replace(history, log=log, kafka=projected(log))


def leaked_canary(history: History) -> History:
    wrong = of(history, "t3", "routed")
    log = [e._replace(body={**e.body, "x": "the canary of evil"}) if e == wrong else e for e in history.log]
    return replace(history, log=log, kafka=projected(log))


def result_before_acceptance(history: History) -> History:
    first, last = of(history, "t2", "accepted"), of(history, "t2", "ended")
    swapped = {
        first.sequence: first._replace(subject=last.subject, body=last.body),
        last.sequence: last._replace(subject=first.subject, body=first.body),
    }
    log = [swapped.get(e.sequence, e) for e in history.log]
    return replace(history, log=log, kafka=projected(log))


def swapped_tenant_in_ledger(history: History) -> History:
    return bills(history, tenant_id="evil")


def billed_open(history: History) -> History:
    return replace(without_events(history, "t2", "ended"), tasks=history.tasks)


PLANTED: dict[str, tuple[str, Callable[[History], History]]] = {
    "a duplicate in Kafka": ("kafka_duplicate", duplicate_in_kafka),
    "a gap in Kafka behind its position": ("kafka_skipped", gap_in_kafka),
    "Kafka's newest event missing": ("kafka_missing", tail_missing_in_kafka),
    "Kafka behind at rest": ("position_behind", tail_missing_in_kafka),
    "two events of a key swapped": ("kafka_reordered", reordered_in_kafka),
    "an event altered on the way": ("kafka_altered", altered_in_kafka),
    "Kafka's usage off by one": ("kafka_usage_differs", usage_off_in_kafka),
    "an old event written again": ("kafka_unasked", replayed_from_before),
    "a record in the wrong topic": ("kafka_unasked", routed_in_usage),
    "a dead letter": ("kafka_dead_letter", dead_letter),
    "a wrong key": ("kafka_wrong_key", wrong_key),
    "a key in two partitions": ("kafka_key_split", key_split),
    "a lost task": ("task_lost", lost_task),
    "a task that never ends": ("never_ended", lambda h: without_events(h, "t3", "ended")),
    "a second end": ("second_end", second_end),
    "an event after the end": ("event_after_end", event_after_end),
    "a start without a route": ("illegal_transition", started_twice),
    "a result without acceptance": ("without_acceptance", lambda h: without_events(h, "t2", "accepted")),
    "an end too late": ("late_end", late_end),
    "an end for its time, before that": ("early_timeout", lambda h: ended_as(h, "t2", "timeout")),
    "a cancel that nobody asked for": ("unasked_cancel", lambda h: ended_as(h, "t2", "cancelled")),
    "a failed attempt that nobody is billed for": ("attempts_not_billed", costly_attempt),
    "a task without a deadline": ("no_deadline", without_deadline),
    "a task with less time than was asked for": ("wrong_deadline", lambda h: other_deadline(h, -10)),
    "a task with more time than was asked for": ("wrong_deadline", lambda h: other_deadline(h, 200)),
    "a task stored by an attempt that was refused": ("refused_task_exists", stored_by_a_refused_attempt),
    "an acceptance told before it was stored": ("told_too_early", lambda h: told_before_stored(h, "accepted")),
    "a result told before it was stored": ("told_too_early", lambda h: told_before_stored(h, "ended")),
    "a bill in Kafka that names another's task": ("kafka_usage_differs", anothers_usage),
    "the ledger with an attempt too many": ("ledger_differs", lambda h: rows(h, attempts=2)),
    "a bill with another latency": ("bill_differs", lambda h: bills(h, latency_ms=4)),
    "a bill for another outcome": ("bill_differs", lambda h: bills(h, outcome="failed")),
    "a body under another's subject": ("subject_mismatch", mismatched_subject),
    "a hole in the log": ("log_gap", hole_in_log),
    "a sequence read twice": ("log_unreadable", read_twice),
    "a refused task in the log": ("refused_task_exists", refused_and_stored),
    "a task nobody asked for": ("unasked_task", nobody_asked),
    "two tasks for one reference": ("one_reference_two_tasks", two_tasks_for_one),
    "an answer without an id": ("answer_without_id", nameless_answer),
    "a position past the log": ("position_ahead", lambda h: replace(h, positions={"ledger": h.end + 1})),
    "the ledger off by one nano-dollar": ("ledger_differs", lambda h: rows(h, cost_nanousd=1_501)),
    "the ledger with another outcome": ("ledger_differs", lambda h: rows(h, outcome="failed")),
    "the ledger in an older state": ("ledger_differs", lambda h: rows(h, state="routed")),
    "a task missing in the ledger": ("ledger_missing", lambda h: replace(h, tasks=h.tasks[1:])),
    "a task twice in the ledger": ("ledger_duplicate", lambda h: replace(h, tasks=[*h.tasks, h.tasks[0]])),
    "a stranger in the ledger": ("ledger_unasked", lambda h: rows(h, task_id="t9")),
    "a bill off by one nano-dollar": ("bill_differs", lambda h: bills(h, cost_nanousd=1_499)),
    "a bill off by one token": ("bill_differs", lambda h: bills(h, tokens=8)),
    "no bill": ("not_billed", lambda h: replace(h, usage=h.usage[1:])),
    "two bills": ("billed_twice", lambda h: replace(h, usage=[*h.usage, h.usage[0]])),
    "a bill for an open task": ("billed_open_task", billed_open),
    "a bill of another tenant": ("ledger_unasked", swapped_tenant_in_ledger),
    "a result before its acceptance": ("illegal_transition", result_before_acceptance),
    "one byte of a replay altered": ("replay_altered", altered_replay),
    "a result that is not the log's": ("result_differs", forged_result),
    "a result of a task that has none": ("result_not_kept", result_of_an_open_task),
    "a 202 that was not kept": ("task_lost", lambda h: resubmitted(h, 0, task_id="t9")),
    "another body accepted under a key": ("other_body_accepted", lambda h: resubmitted(h, -1, kind="ok", task_id="t1")),
    "the same body refused under its key": ("replay_refused", lambda h: resubmitted(h, -1, variant="a")),
    "a task denied to its owner": ("task_denied", lambda h: reread(h, 1, status=404)),
    "a task shown to another tenant": ("foreign_task_shown", lambda h: reread(h, 3, status=200)),
    "a task stored for another tenant": ("tenant_swapped", moved_to_another_tenant),
    "an event that names another tenant": ("tenant_swapped", wrong_tenant_in_body),
    "a text of another tenant": ("canary_leaked", leaked_canary),
    "a text of another tenant in an answer": (
        "canary_leaked",
        lambda h: reread(h, 0, body=b"the canary of evil"),
    ),
    "a stream that goes back": ("stream_reordered", lambda h: reread(h, 2, sequences=h.readings[2].sequences[::-1])),
    "a stream that leaves one out": ("stream_gap", lambda h: reread(h, 2, sequences=h.readings[2].sequences[1:])),
}
