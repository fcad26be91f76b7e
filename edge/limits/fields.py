"""RateLimit and RateLimit-Policy, as draft-ietf-httpapi-ratelimit-headers-10 has them.

The draft knows windows, not bursts: `q` and `w` are the long run, and `aion-burst` is what fits at once.
"""

import math

from edge.limits.bucket import Bucket, Verdict


def policy_field(buckets: tuple[Bucket, ...]) -> str:
    """What all of the request's buckets allow."""
    return ", ".join(f'"{b.policy}";q={b.rate.rpm};w=60;aion-burst={b.rate.burst}' for b in buckets)


def limit_field(verdict: Verdict) -> str:
    """What the tightest bucket has left (`r`), and when it is full again, after a refusal when to come back (`t`)."""
    bucket, level_us = verdict.tightest
    debit_us = bucket._replace(cost=1).debit_of_us(verdict.edges)
    left = max(0, (bucket.tolerance_us - level_us) // debit_us) if verdict.admitted else 0
    until_us = level_us if verdict.admitted else verdict.retry_after_us
    return f'"{bucket.policy}";r={left};t={max(1, math.ceil(until_us / 1_000_000))}'
