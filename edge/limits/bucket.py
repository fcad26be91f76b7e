"""The arithmetic of a bucket: GCRA, in whole microseconds, pure.

A bucket is one number: the time at which it will be full again. How far that lies ahead is its **level**: 0 is full,
`tolerance_us` (burst times interval) is empty. Asking for `cost` raises the level by `cost` intervals, and is admitted
when the level stays within the tolerance, so every cost meets the same bound. `buckets.lua` computes the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

from edge.limits.settings import Rate


class Bucket(NamedTuple):
    """What one request asks of one bucket. `policy` is its kind, `key` tells whose it is."""

    policy: str
    key: str
    rate: Rate
    cost: int = 1

    @property
    def debit_us(self) -> int:
        """What the request raises the level by."""
        return self.rate.interval_us * self.cost

    def debit_of_us(self, edges: int) -> int:
        """The same where each of so many edges decides alone; never so much that nothing would ever fit."""
        return self.debit_us * max(1, min(edges, self.rate.burst // max(1, self.cost)))

    @property
    def tolerance_us(self) -> int:
        """The level of an empty bucket."""
        return self.rate.interval_us * self.rate.burst


class Verdict(NamedTuple):
    """Whether all buckets had room, and their levels after that: nothing was debited anywhere when one had not."""

    admitted: bool
    buckets: tuple[Bucket, ...]
    levels_us: tuple[int, ...]
    edges: int = 1
    """By how many the limit was divided."""
    shared: bool = False
    """Whether Redis decided."""

    @property
    def retry_after_us(self) -> int:
        """When the same request fits if nobody else asks; 0 when it did."""
        return 0 if self.admitted else self._wait_us(*self.tightest)

    @property
    def tightest(self) -> tuple[Bucket, int]:
        """The bucket that is nearest to empty, after a refusal the one to wait for longest; and its level."""
        pairs = zip(self.buckets, self.levels_us, strict=True)
        if self.admitted:
            return max(pairs, key=lambda pair: pair[1] / pair[0].tolerance_us)
        return max(pairs, key=lambda pair: self._wait_us(*pair))

    def _wait_us(self, bucket: Bucket, level_us: int) -> int:
        return level_us + bucket.debit_of_us(self.edges) - bucket.tolerance_us


class Reservation(NamedTuple):
    """What was debited of a bucket in advance, to be settled once it is known what was used."""

    bucket: Bucket
    edges: int
    shared: bool
    """Whether Redis was debited; else one process alone was, its share counted for `edges`."""

    def correction(self, used: int) -> Bucket:
        """What Redis is still owed; it gives back when `used` is less than what it was debited."""
        return self.bucket._replace(cost=used - (self.bucket.cost if self.shared else 0))

    def correction_us(self, used: int) -> int:
        """The same as a level of the process that was debited."""
        each_us = self.bucket.debit_of_us(self.edges) // self.bucket.cost
        return each_us * (used - self.bucket.cost)


def judge(buckets: Sequence[Bucket], levels_us: Sequence[int], *, edges: int = 1) -> Verdict:
    """All or nothing: the debits of every bucket, or of none; with `edges`, this one's share of each."""
    after_us = [level + bucket.debit_of_us(edges) for bucket, level in zip(buckets, levels_us, strict=True)]
    admitted = all(after <= bucket.tolerance_us for bucket, after in zip(buckets, after_us, strict=True))
    return Verdict(admitted, tuple(buckets), tuple(after_us if admitted else levels_us), edges)


def level_us(full_at_us: int, now_us: int, tolerance_us: int) -> int:
    """The level now of a bucket that is full at `full_at_us`.

    Never more than twice the tolerance: a clock that was set back must not shut a bucket for longer than that.
    """
    return min(max(0, full_at_us - now_us), 2 * tolerance_us)
