"""What the checker says."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from checker.history import Source, Task


class Finding(NamedTuple):
    """One broken promise. `absent_from`: the finding is that something is not there, so it needs all of that source."""

    rule: str
    message: str
    task: Task | None = None
    sequences: tuple[int, ...] = ()
    absent_from: Source | None = None


class Violation(NamedTuple):
    """A finding and the shortest story that shows it: one line per step, in order of time; None past the first few."""

    rule: str
    message: str
    timeline: tuple[str, ...] | None


@dataclass(frozen=True)
class Verdict:
    """`invalid` when a promise is broken, `unknown` when not enough was seen to say so, else `valid`."""

    outcome: Literal["valid", "invalid", "unknown"]
    violations: Sequence[Violation]
    doubts: Sequence[str]

    @property
    def rules(self) -> Counter[str]:
        """How often each rule was broken."""
        return Counter(violation.rule for violation in self.violations)

    @property
    def stories(self) -> Sequence[Violation]:
        """The violations that have one, the shortest first."""
        return sorted((v for v in self.violations if v.timeline is not None), key=lambda v: len(v.timeline or ()))

    def report(self, most: int = 5) -> str:
        """For a person: the counts, then the shortest `most` stories, one per rule first."""
        lines = [f"verdict: {self.outcome}; {dict(self.rules)}", *(f"doubt: {doubt}" for doubt in self.doubts[:most])]
        seen: Counter[str] = Counter()
        ranked: list[tuple[int, int, Violation]] = []
        for violation in self.stories:
            ranked.append((seen[violation.rule], len(violation.timeline or ()), violation))
            seen[violation.rule] += 1
        for _, _, violation in sorted(ranked, key=lambda r: r[:2])[:most]:
            lines += [f"{violation.rule}: {violation.message}", *(f"    {step}" for step in violation.timeline or ())]
        return "\n".join(lines)
