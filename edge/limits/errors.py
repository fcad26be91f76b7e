"""The refusal of a rate limit, with what a door may say about it."""

from edge.limits.bucket import Verdict
from schemas.errors import TooManyRequests


class RateLimited(TooManyRequests):
    """A bucket has no room; the same request fits after `retry_after_s` if nobody else takes it."""

    def __init__(self, verdict: Verdict) -> None:
        bucket, _ = verdict.tightest
        what = f"{bucket.rate.rpm} a minute and {bucket.rate.burst} at once"
        super().__init__(
            f"the limit of this {bucket.policy} is reached, {what}: come back later",
            retry_after_s=verdict.retry_after_us / 1_000_000,
        )
        self.verdict = verdict
