"""Limits at the HTTP side: which address a request counts for, and what its answer says of what is left."""

from typing import Final

from aiohttp import web

from edge.http.answer import Answer
from edge.http.clients import Clients
from edge.identity.caller import Caller
from edge.limits.bucket import Verdict
from edge.limits.errors import RateLimited
from edge.limits.fields import limit_field, policy_field
from edge.limits.limits import Limits
from edge.limits.plan import Who
from schemas.errors import AionError
from schemas.ids import TenantId

VERDICT: Final = web.RequestKey("verdict", Verdict)
TENANT: Final = web.RequestKey("tenant", str)


class Gate:
    """Asks `Limits` for every request under `/v1/`."""

    def __init__(self, limits: Limits, clients: Clients, *, fields: bool) -> None:
        self._limits = limits
        self._clients = clients
        self._fields = fields

    def check_address(self, request: web.BaseRequest) -> None:
        """Raise `RateLimited` for an address that is known to have nothing left."""
        self._limits.check_address(self._clients.network_of(request))

    async def take(self, request: web.BaseRequest, caller: Caller) -> None:
        """One request of a caller. Raises `RateLimited`."""
        who = Who(self._clients.network_of(request), caller.name, caller.tenant_id, _route_of(request))
        request[VERDICT] = await self._limits.take(who)
        request[TENANT] = caller.tenant_id

    async def take_as(self, request: web.BaseRequest, caller: Caller, route: str) -> None:
        """What a caller asks over a socket, counted as the request that does the same. Raises `RateLimited`."""
        await self._limits.take(Who(self._clients.network_of(request), caller.name, caller.tenant_id, route))

    async def take_known(self, caller: Caller, route: str) -> None:
        """A stranger's request whose caller is known by now; its address has paid. Raises `RateLimited`."""
        await self._limits.take(Who(None, caller.name, caller.tenant_id, route))

    def check_known(self, request: web.BaseRequest, caller: Caller) -> None:
        """Raise `RateLimited` for a caller who is known to have nothing left; its address has paid."""
        self._limits.check(Who(None, caller.name, caller.tenant_id, _route_of(request)))

    async def count_known(self, request: web.BaseRequest, caller: Caller) -> None:
        """A stranger's request that is done by the time its caller is known: it counts, and is refused nothing."""
        request[VERDICT] = await self._limits.count(Who(None, caller.name, caller.tenant_id, _route_of(request)))
        request[TENANT] = caller.tenant_id

    async def take_stranger(self, request: web.BaseRequest) -> None:
        """One request without a good credential. Raises `RateLimited`."""
        await self._limits.take_stranger(self._clients.network_of(request))

    def note(self, request: web.BaseRequest, error: AionError) -> None:
        """Let the answer tell of the bucket that refused, whoever asked it."""
        if isinstance(error, RateLimited):
            request[VERDICT] = error.verdict

    def tell(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Write the RateLimit fields, unless the head is on its way already."""
        verdict = request.get(VERDICT)
        if not self._fields or not verdict or response.prepared:
            return
        if TENANT in request:  # when the answer goes out: what it took of the tokens is taken by then
            verdict = self._limits.with_tokens(verdict, TenantId(request[TENANT]))
        if not verdict.buckets:
            return
        fields = {"RateLimit": limit_field(verdict), "RateLimit-Policy": policy_field(verdict.buckets)}
        if isinstance(response, Answer):
            response.add_fields("".join(f"{name}: {value}\r\n" for name, value in fields.items()))
        else:
            response.headers.update(fields)


def _route_of(request: web.BaseRequest) -> str:
    return f"{request.method} {request.rel_url.path_safe}"
