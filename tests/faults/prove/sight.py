"""Could this run have failed? Defects are planted into what it really left behind, and the checker must see each."""

from collections.abc import Iterator
from dataclasses import replace

from checker.check import check
from checker.history import History, Submission


def blind_spots(history: History) -> list[str]:
    """The rules that did not see their defect; empty when the reading was not blind."""
    missed = []
    for rule, defect in _defects(history):
        found = check(defect).rules
        if rule not in found:
            missed.append(f"blind: a planted {rule} was not seen, only {dict(found)}")
    return missed


def _defects(history: History) -> Iterator[tuple[str, History]]:
    middle = len(history.kafka) // 2
    record = history.kafka[middle]
    again = record._replace(offset=record.offset + 1_000_000_000)
    yield "kafka_duplicate", replace(history, kafka=[*history.kafka, again])
    yield "kafka_skipped", replace(history, kafka=[*history.kafka[:middle], *history.kafka[middle + 1 :]])
    yield "not_billed", replace(history, usage=history.usage[1:])
    yield "ledger_differs", replace(history, tasks=[history.tasks[0]._replace(cost_nanousd=1), *history.tasks[1:]])
    number = next(n for n, submission in enumerate(history.submissions) if submission.body)
    told = history.submissions[number]
    forged = told._replace(body=told.body.replace(b'"tokens":0', b'"tokens":1'))
    yield "result_differs", replace(history, submissions=_with(history, number, forged))
    yield "task_lost", replace(history, submissions=_with(history, number, told._replace(task_id="never-stored")))
    ended = next(entry for entry in history.log if entry.event == "ended")
    yield "second_end", replace(history, log=[*history.log, ended._replace(sequence=history.end + 1)])


def _with(history: History, number: int, submission: Submission) -> list[Submission]:
    return [*history.submissions[:number], submission, *history.submissions[number + 1 :]]
