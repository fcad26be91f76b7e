"""Which buckets a request draws from."""

from typing import NamedTuple

from edge.limits.bucket import Bucket
from edge.limits.settings import LimitsSettings, Rate
from schemas.errors import InvalidRequest, Misconfigured
from schemas.ids import TenantId

VARIABLE = "{task_id}"


class Who(NamedTuple):
    """A request as limits see it. `ip` names an address or network, None when that was counted already.

    `route` is a method and a path.
    """

    ip: str | None
    caller: str
    tenant_id: TenantId
    route: str = ""


class Plan:
    """Settings as buckets."""

    def __init__(self, settings: LimitsSettings) -> None:
        self._settings = settings

    def of_stranger(self, ip: str) -> tuple[Bucket, ...]:
        """Of a request without a good credential: its address counts alone."""
        rate = self._settings.ip
        return (Bucket("ip", f"ip:{ip}", rate),) if rate is not None else ()

    def of_caller(self, who: Who) -> tuple[Bucket, ...]:
        """Of a request of a caller."""
        settings = self._settings
        buckets = [] if who.ip is None else list(self.of_stranger(who.ip))
        if settings.key is not None:
            buckets.append(Bucket("key", f"caller:{who.caller}", settings.key))
        if settings.tenant is not None:
            buckets.append(Bucket("tenant", f"tenant:{who.tenant_id}", settings.tenant))
        if settings.routes:
            buckets += self._of_route(who)
        return tuple(buckets)

    def of_tokens(self, tenant_id: TenantId, tokens: int) -> Bucket:
        """The tenant's tokens, which must have a rate. Raises `InvalidRequest` when the bucket never holds so many."""
        rate = self._settings.tokens
        if rate is None:
            raise Misconfigured("tokens have no rate: set AION_LIMITS__TOKENS")
        if tokens > rate.burst:
            message = f"about {tokens} tokens are asked for, {rate.burst} at once are the limit: ask for fewer"
            raise InvalidRequest(message)
        return Bucket("tokens", f"tokens:{tenant_id}", rate, tokens)

    def tokens_of(self, tenant_id: TenantId) -> Bucket | None:
        """The tenant's tokens, None where they have no rate: for saying what is left."""
        rate = self._settings.tokens
        return Bucket("tokens", f"tokens:{tenant_id}", rate) if rate is not None else None

    def _of_route(self, who: Who) -> tuple[Bucket, ...]:
        name, rate = who.route, self._settings.routes.get(who.route)
        if rate is None:
            name = pattern_of(who.route)
            rate = self._settings.routes.get(name)
        return (_of_tenant("route", who.tenant_id, name, rate),) if rate is not None else ()


def pattern_of(route: str) -> str:
    """The route with `{task_id}` for its third segment, as in `GET /v1/tasks/{task_id}/events`."""
    segments = route.split("/")
    segments[3:4] = [VARIABLE]
    return "/".join(segments)


def _of_tenant(policy: str, tenant_id: TenantId, name: str, rate: Rate) -> Bucket:
    return Bucket(policy, f"{policy}:{tenant_id}:{name}", rate)
