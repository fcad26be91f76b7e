"""Who is on a socket, for as long as the credential holds."""

from aiohttp import web

from edge.http.clients import Clients
from edge.http.front import CALLER
from edge.http.gate import Gate
from edge.identity.caller import Caller
from edge.identity.credentials import Credentials
from edge.ws.frames import Hello
from schemas.errors import Forbidden, Unauthenticated


class Guest:
    """The caller of a socket. Without an authorization a certificate speaks for it, as long as the connection lasts."""

    def __init__(self, credentials: Credentials, caller: Caller, authorization: str | None) -> None:
        self._credentials = credentials
        self._authorization = authorization
        self.caller = caller

    def check(self) -> Caller:
        """The caller as it is now. Raises `Unauthenticated` once the credential was revoked or has expired."""
        if self._authorization is not None:
            self.caller = self._credentials.caller_of(self._authorization)
        return self.caller

    def allow(self, scope: str) -> Caller:
        """The caller, who has `scope`. Raises `InsufficientScope` besides."""
        caller = self.check()
        if scope not in caller.scopes:
            raise self._credentials.lacking(caller, scope)
        return caller

    def renew(self, authorization: str) -> None:
        """Take another credential of the same tenant. Raises `Unauthenticated` or `Forbidden`; the old one stays."""
        caller = self._credentials.caller_of(authorization)
        if caller.tenant_id != self.caller.tenant_id:
            raise Forbidden("that credential is another tenant's: open a socket of its own for it")
        self._authorization, self.caller = authorization, caller


class Entry:
    """Lets guests in, and counts what they do for limits as the request that does the same."""

    def __init__(self, credentials: Credentials, gate: Gate | None, clients: Clients) -> None:
        self._credentials = credentials
        self._gate = gate
        self._clients = clients

    def address_of(self, request: web.BaseRequest) -> str:
        """What a stranger counts as."""
        return self._clients.network_of(request)

    def known(self, request: web.BaseRequest) -> Guest | None:
        """Who came with a credential in the upgrade, which `Front` has verified and counted."""
        caller = request.get(CALLER)
        return None if caller is None else Guest(self._credentials, caller, request.headers.get("Authorization"))

    async def greet(self, request: web.BaseRequest, hello: Hello) -> Guest:
        """Who says so in a first frame; its address paid for the upgrade. Raises `Unauthenticated`, `RateLimited`."""
        caller = self._credentials.caller_of(hello.authorization)
        if self._gate is not None:
            await self._gate.take_known(caller, f"{request.method} {request.rel_url.path_safe}")
        return Guest(self._credentials, caller, hello.authorization)

    async def count(self, request: web.BaseRequest, caller: Caller, route: str) -> None:
        """One request of a caller. Raises `RateLimited`."""
        if self._gate is not None:
            await self._gate.take_as(request, caller, route)


def stranger(kind: str) -> Unauthenticated:
    """The refusal of who says something else before who it is."""
    return Unauthenticated(f"the first frame says who you are, as hello does: {kind} came before")
