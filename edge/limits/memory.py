"""What one process knows of buckets: all there is without Redis, and with it a lower bound that needs no asking."""

from collections.abc import Sequence

from edge.limits.bucket import Bucket, level_us


class Memory:
    """Buckets by key, on the process's own monotonic clock. At most `max_buckets`: the least recently used goes."""

    def __init__(self, max_buckets: int) -> None:
        self._max_buckets = max_buckets
        self._full_at_us: dict[str, int] = {}

    def levels_us(self, buckets: Sequence[Bucket], now_us: int) -> tuple[int, ...]:
        """How far each is from full, as far as this process knows."""
        known = self._full_at_us
        return tuple(level_us(known.get(bucket.key, 0), now_us, bucket.tolerance_us) for bucket in buckets)

    def note(self, buckets: Sequence[Bucket], levels_us: Sequence[int], at_us: int) -> None:
        """Each had this level at `at_us`; of two notes of one bucket the emptier counts, but where tokens come back."""
        known = self._full_at_us
        for bucket, level in zip(buckets, levels_us, strict=True):
            before = 0 if bucket.policy == "tokens" else known.get(bucket.key, 0)
            known.pop(bucket.key, None)
            known[bucket.key] = max(before, at_us + level)
        while len(known) > self._max_buckets:
            del known[next(iter(known))]
