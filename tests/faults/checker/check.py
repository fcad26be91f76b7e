"""The checker: a pure function from a history to a verdict."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from checker.acceptance import check_acceptance, check_times
from checker.answers import check_answers
from checker.history import History
from checker.kafka import check_kafka
from checker.ledger import check_ledger
from checker.log import check_log
from checker.tenants import check_tenants
from checker.timeline import timeline
from checker.verdict import Finding, Verdict, Violation

Rule = Callable[[History], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    check_acceptance,
    check_times,
    check_answers,
    check_tenants,
    check_log,
    check_kafka,
    check_ledger,
)
"""To check more, add a function here, and a planted defect to the self-test."""
MOST_STORIES = 50
"""Of one rule: each costs a walk over all that is known, and nobody reads more."""


def check(history: History, rules: Sequence[Rule] = RULES) -> Verdict:
    """Judge a history after everything came to rest.

    What is missing in a source that was not read to its end is a doubt. A history in which no task was accepted
    proves nothing: `unknown`.
    """
    violations: list[Violation] = []
    doubts: list[str] = []
    told: Counter[str] = Counter()
    for rule in rules:
        for finding in rule(history):
            if finding.absent_from in history.incomplete:
                doubts.append(f"{finding.rule}: {finding.message} ({finding.absent_from} was not read to its end)")
            else:
                told[finding.rule] += 1
                story = timeline(history, finding) if told[finding.rule] <= MOST_STORIES else None
                violations.append(Violation(finding.rule, finding.message, story))
    if not any(submission.kind == "ok" for submission in history.submissions):
        doubts.append("no task was accepted: there is nothing to lose")
    doubts += [f"{source} was not read to its end" for source in sorted(history.incomplete)]
    if violations:
        return Verdict("invalid", violations, doubts)
    return Verdict("unknown" if doubts else "valid", violations, doubts)
