"""The way of every request: id, credential, route, and a problem for whatever goes wrong.

It stands where aiohttp would have an application with middlewares; without those layers a request costs a quarter less.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import HttpVersion11, web

from actors.runtime import Context
from edge.http.answer import REQUEST_ID, SERVER
from edge.http.clients import Clients
from edge.http.cors import ORIGIN, Cors
from edge.http.gate import Gate
from edge.http.problems import Problems, Wording
from edge.http.routes import ANY_CALLER, EVERYBODY, Routes
from edge.http.wire.connection import connection_of
from edge.identity.caller import Caller
from edge.identity.certificate_owners import NAMES_OF_CLIENTS, CertificateOwners
from edge.identity.credentials import Credentials
from edge.tasks.trace import RequestIds, place_of
from edge.tasks.turns import Turns
from schemas.errors import AionError, Forbidden, Unauthenticated
from schemas.ids import TenantId
from schemas.scopes import SUBMIT

CALLER: Final = web.RequestKey("caller", Caller)
TASK_ID: Final = web.RequestKey("task_id", str)

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Front:
    """The one handler of an edge's server.

    `wordings` says how refusals sound under `/v1/<noun>`; everything else gets problems.
    """

    def __init__(
        self,
        context: Context,
        routes: Routes,
        credentials: Credentials,
        owners: CertificateOwners,
        clients: Clients,
        turns: Turns,
        *,
        gate: Gate | None,
        wordings: Mapping[str, Wording],
        cors: Cors | None,
    ) -> None:
        self._context = context
        self._ids = RequestIds(context.now_ms(), context.rng)
        self._problems = Problems()
        self._wordings = wordings
        self._cors = cors
        self._routes = routes
        self._credentials = credentials
        self._owners = owners
        self._clients = clients
        self._turns = turns
        self._gate = gate

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response, whatever happens, except to a client that is gone. Connections go while the edge drains."""
        connection = connection_of(request)
        connection.begin()
        context = self._context
        request_id = self.name(request.headers.get("X-Request-Id"))
        request[REQUEST_ID] = request_id
        preflight = self._cors.preflight(request) if self._cors is not None else None
        response = preflight or await self._answered(request, request_id)
        connection.end()
        if isinstance(response, web.Response):
            response.headers["X-Request-Id"] = request_id
            response.headers["Server"] = SERVER
            response.headers.setdefault("Cache-Control", "no-store")
        if self._gate is not None:
            self._gate.tell(request, response)
        if self._cors is not None:
            self._cors.mark(request, response)
        if (connection.broken or context.draining.is_set()) and not response.prepared:
            response.force_close()
        return response

    def name(self, asked: str | None = None) -> str:
        """The id of a request that asks for this one, or for none."""
        return self._ids.read(asked)

    def submissions(self) -> Mapping[str, Wording]:
        """The paths that tasks are posted to, and how refusals sound there."""
        return {path: self._wording(path) for path in self._routes.of_scope(SUBMIT)}

    async def _answered(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        log, path = self._context.log, request.rel_url.path_safe
        try:
            return await self._routed(request)
        except web.HTTPException as error:
            return self._wording(path).failed(error, request_id)
        except AionError as error:
            if self._gate is not None:
                self._gate.note(request, error)
            if error.http_status >= 500 and not error.retryable:
                client = self._clients.address_of(request)
                log.error("edge.request_failed", request_id=request_id, client=client, code=error.code)
            return self._wording(path).refused(error, request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            client, at = self._clients.address_of(request), place_of(error)
            log.error("edge.request_crashed", request_id=request_id, client=client, error=type(error).__name__, at=at)
            return self._wording(path).crashed(request_id)

    def _wording(self, path: str) -> Wording:
        version, _, rest = path.removeprefix("/").partition("/")
        noun = rest.partition("/")[0] if version == "v1" else ""
        return self._wordings.get(noun, self._problems)

    async def _routed(self, request: web.BaseRequest) -> web.StreamResponse:
        """Strangers are not told what exists under `/v1/`."""
        path = request.rel_url.path_safe
        if "Expect" in request.headers:
            await _go_on(request)
        try:
            (scope, handler, upgrade), task_id = self._routes.find(request.method, path)
        except web.HTTPException:
            if path.startswith("/v1/"):
                await self._caller_of(request)
            raise
        if upgrade is not None and asks_for_socket(request):
            handler = upgrade
            if self._is_silent(request):
                scope = EVERYBODY
        await self._admit(request, scope)
        if task_id:
            request[TASK_ID] = task_id
        return await handler(request)

    async def _admit(self, request: web.BaseRequest, scope: str) -> None:
        """Whether there is time for it, then who asks, and whether that one may."""
        if scope is SUBMIT and not connection_of(request).was_admitted():
            self._turns.check()
        if scope is not EVERYBODY:
            caller = await self._caller_of(request)
            if scope not in caller.scopes and scope is not ANY_CALLER:
                raise self._credentials.lacking(caller, scope)
        elif self._gate is not None and request.rel_url.path_safe.startswith("/v1/"):
            await self._count_open(request, self._gate)

    async def _count_open(self, request: web.BaseRequest, gate: Gate) -> None:
        """Count what is open to everybody for the API key that it brings, and without a good one for its address."""
        gate.check_address(request)
        caller = self._credentials.key_caller(request.headers.get("Authorization"))
        if caller is None:
            await gate.take_stranger(request)
        else:
            await gate.take(request, caller)
            request[CALLER] = caller

    async def _caller_of(self, request: web.BaseRequest) -> Caller:
        """Who asks. When limits hold, what has no good credential counts for its address.

        Raises `Unauthenticated`, and `Forbidden` for what `_known` does.
        """
        gate = self._gate
        if gate is not None:
            gate.check_address(request)
        try:
            caller = request[CALLER] = self._known(request)
        except (Forbidden, Unauthenticated):
            if gate is not None:
                await gate.take_stranger(request)
            raise
        if gate is not None:
            await gate.take(request, caller)
        return caller

    def _is_silent(self, request: web.BaseRequest) -> bool:
        """Whether nothing says who asks: a browser cannot send `Authorization` with an upgrade."""
        if "Authorization" in request.headers:
            return False
        return not self._owners or not self._owners.know(_certificate_names(request))

    def _known(self, request: web.BaseRequest) -> Caller:
        """Who asks. Raises `Forbidden` for a page: a browser shows its user's certificate for any, and asks nobody."""
        authorization = request.headers.get("Authorization")
        if authorization is not None or not self._owners:
            return self._credentials.caller_of(authorization)
        caller = self._owners.caller_of(_certificate_names(request))
        if "Origin" in request.headers and ORIGIN not in request:
            raise Forbidden("pages of that origin may not use a certificate: AION_EDGE__CORS_ORIGINS names who may")
        return caller


def tenant_of(request: web.BaseRequest) -> TenantId:
    """The tenant of the request's credential. Raises `Unauthenticated` when it came without one."""
    try:
        return request[CALLER].tenant_id
    except KeyError:
        raise Unauthenticated("no credential: send Authorization: Bearer aion_... or an access token") from None


def asks_for_socket(request: web.BaseRequest) -> bool:
    """Whether it would become a WebSocket (RFC 6455 section 4.2.1)."""
    return request.headers.get("Upgrade", "").strip().lower() == "websocket"


def _certificate_names(request: web.BaseRequest) -> list[str]:
    """The subject alternative names of the client's certificate, which TLS has verified."""
    shown = request.get_extra_info("peercert") or {}
    return [name for kind, name in shown.get("subjectAltName", ()) if kind in NAMES_OF_CLIENTS]


async def _go_on(request: web.BaseRequest) -> None:
    """Ask for the body that the client holds back (RFC 9110 section 10.1.1). Raises `web.HTTPExpectationFailed`."""
    if request.version < HttpVersion11:
        return
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(_CONTINUE)
    request.writer.output_size = 0  # else aiohttp takes the response for begun
