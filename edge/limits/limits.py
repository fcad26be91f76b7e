"""The limits of an edge: every door asks here before it does anything for a caller."""

from collections.abc import Callable, Mapping
from time import monotonic_ns

from edge.limits.bucket import Bucket, Reservation, Verdict, judge
from edge.limits.errors import RateLimited
from edge.limits.memory import Memory
from edge.limits.plan import Plan, Who
from edge.limits.settings import LimitsSettings
from edge.limits.shared import Ask, Shared
from schemas.ids import TenantId


class Limits:
    """Takes from all buckets of a request, or from none.

    With `shared` the levels in Redis decide; what this process has seen of them is a lower bound, so that a bucket
    known to be empty refuses without asking. While Redis is away, and without `shared`, this process decides by what
    it has seen, at its share of each rate: neither open nor closed.
    """

    def __init__(
        self,
        settings: LimitsSettings,
        shared: Shared | None,
        clock_us: Callable[[], int] = lambda: monotonic_ns() // 1000,
    ) -> None:
        self._clock_us = clock_us
        self._plan = Plan(settings)
        self._shared = shared
        self._edges = settings.edges
        self._slack_us = round(2_000_000 * settings.answer_timeout_s)
        """What a level may fall by on the way to Redis: more would raise it there, a little with every request."""
        self._memory = Memory(settings.max_buckets)
        self.refused = 0
        self.alone = 0
        """Requests that were decided without Redis."""

    async def take(self, who: Who) -> Verdict:
        """One request of a caller. Raises `RateLimited`."""
        return await self._take(self._plan.of_caller(who))

    async def take_stranger(self, ip: str) -> Verdict:
        """One request that no credential speaks for. Raises `RateLimited`."""
        return await self._take(self._plan.of_stranger(ip))

    async def count(self, who: Who) -> Verdict:
        """One request that is done already: it takes from all its buckets or from none, and is refused nothing."""
        return await self._decide(self._plan.of_caller(who))

    def check(self, who: Who) -> None:
        """Raise `RateLimited` when a bucket of the caller is known to have nothing left; nothing is taken."""
        self._check(self._plan.of_caller(who))

    def check_address(self, ip: str) -> None:
        """Raise `RateLimited` when the address is known to have nothing left: before its credential costs anything."""
        self._check(self._plan.of_stranger(ip))

    async def reserve(self, tenant_id: TenantId, tokens: int) -> Reservation:
        """So many tokens of the tenant, at least 1, until `settle`; there must be a rate of tokens.

        Raises `RateLimited`, and `InvalidRequest` for more than the tenant may have at once.
        """
        bucket = self._plan.of_tokens(tenant_id, tokens)
        verdict = await self._take((bucket,))
        return Reservation(bucket, verdict.edges, verdict.shared)

    async def settle(self, reservation: Reservation, used: int) -> None:
        """Correct a reservation by what was used: give back the rest, or owe what is missing. It refuses nothing."""
        now_us, correction = self._clock_us(), reservation.correction(used)
        if self._shared is not None:
            if correction.cost == 0:
                return
            reply = await self._shared.take(Ask((correction,), (0,), owed=True))
            if reply is not None:
                self._memory.note((correction,), reply.levels_us, now_us)
                return
        bucket = reservation.bucket
        (level_us,) = self._memory.levels_us((bucket,), now_us)
        self._memory.note((bucket,), (max(0, level_us + reservation.correction_us(used)),), now_us)

    def with_tokens(self, verdict: Verdict, tenant_id: TenantId) -> Verdict:
        """An admitted request's verdict, and the tenant's tokens as far as this process knows; nobody is asked."""
        bucket = self._plan.tokens_of(tenant_id)
        if bucket is None or not verdict.admitted:
            return verdict
        levels_us = self._memory.levels_us((bucket,), self._clock_us())
        return verdict._replace(buckets=(*verdict.buckets, bucket), levels_us=(*verdict.levels_us, *levels_us))

    async def watch(self) -> None:
        """Speak with Redis until cancelled; nothing is asked of it before."""
        if self._shared is not None:
            await self._shared.serve()

    def status(self) -> Mapping[str, object]:
        """Figures for discovery."""
        shared = self._shared
        figures: dict[str, object] = {"refused": self.refused, "alone": self.alone}
        if shared is not None:
            figures |= {"redis_away": shared.away, "redis_lost": shared.lost, "redis_rounds": shared.rounds}
        return figures

    def _check(self, buckets: tuple[Bucket, ...]) -> None:
        verdict = judge(buckets, self._memory.levels_us(buckets, self._clock_us()))
        if not verdict.admitted:
            self._refuse(verdict)

    async def _take(self, buckets: tuple[Bucket, ...]) -> Verdict:
        verdict = await self._decide(buckets)
        if not verdict.admitted:
            self._refuse(verdict)
        return verdict

    async def _decide(self, buckets: tuple[Bucket, ...]) -> Verdict:
        if not buckets:
            return Verdict(True, (), ())
        now_us = self._clock_us()
        verdict = await self._ask(buckets, self._memory.levels_us(buckets, now_us))
        if verdict is None:  # what this process knew may have changed while it asked
            now_us = self._clock_us()
            verdict = judge(buckets, self._memory.levels_us(buckets, now_us), edges=self._edges)
        self._memory.note(buckets, verdict.levels_us, now_us)
        return verdict

    async def _ask(self, buckets: tuple[Bucket, ...], least_us: tuple[int, ...]) -> Verdict | None:
        """What Redis says, None when nobody can say; nobody is asked when the answer is known."""
        shared = self._shared
        if shared is None or shared.away:
            self.alone += 1
            return None
        sure = tuple(0 if bucket.policy == "tokens" else level for bucket, level in zip(buckets, least_us, strict=True))
        verdict = judge(buckets, sure)
        if not verdict.admitted:
            return verdict
        reply = await shared.take(Ask(buckets, tuple(max(0, level - self._slack_us) for level in sure)))
        if reply is None:
            self.alone += 1
            return None
        return Verdict(reply.admitted, buckets, reply.levels_us, shared=True)

    def _refuse(self, verdict: Verdict) -> None:
        self.refused += 1
        raise RateLimited(verdict)
