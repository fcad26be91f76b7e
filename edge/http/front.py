"""The way of every request: id, credential, route, and a problem for whatever goes wrong.

It stands where aiohttp would have an application with middlewares; without those layers a request costs a quarter less.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import HttpVersion11, web

from actors.runtime import Context
from edge.http.answer import REQUEST_ID, SERVER
from edge.http.cors import Cors
from edge.http.heads import Heads
from edge.http.problems import Problems, Wording
from edge.http.routes import Routes
from edge.identity.caller import Caller
from edge.identity.credentials import Credentials
from edge.tasks.trace import read_request_id
from schemas.errors import AionError
from schemas.ids import TenantId

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
        heads: Heads,
        wordings: Mapping[str, Wording],
        cors: Cors | None,
    ) -> None:
        self._context = context
        self._problems = Problems()
        self._wordings = wordings
        self._cors = cors
        self._routes = routes
        self._credentials = credentials
        self._heads = heads

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response, whatever happens, except to a client that is gone. Connections go while the edge drains."""
        self._heads.shown(request.protocol)
        context = self._context
        request_id = read_request_id(request.headers.get("X-Request-Id"), context.now_ms(), context.rng)
        request[REQUEST_ID] = request_id
        preflight = self._cors.preflight(request) if self._cors is not None else None
        response = preflight or await self._answered(request, request_id)
        if isinstance(response, web.Response):
            response.headers["X-Request-Id"] = request_id
            response.headers["Server"] = SERVER
            response.headers.setdefault("Cache-Control", "no-store")
        if self._cors is not None:
            self._cors.mark(request, response)
        if context.draining.is_set() and not response.prepared:
            response.force_close()
        return response

    async def _answered(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        log = self._context.log
        try:
            return await self._routed(request)
        except web.HTTPException as error:
            return self._wording(request).failed(error, request_id)
        except AionError as error:
            if error.http_status >= 500 and not error.retryable:
                log.error("edge.request_failed", request_id=request_id, code=error.code)
            return self._wording(request).refused(error, request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            log.error("edge.request_crashed", request_id=request_id, error=type(error).__name__, at=_place(error))
            return self._wording(request).crashed(request_id)

    def _wording(self, request: web.BaseRequest) -> Wording:
        version, _, rest = request.rel_url.path_safe.removeprefix("/").partition("/")
        noun = rest.partition("/")[0] if version == "v1" else ""
        return self._wordings.get(noun, self._problems)

    async def _routed(self, request: web.BaseRequest) -> web.StreamResponse:
        """Everything under `/v1/` needs a key, even what does not exist there."""
        headers, path = request.headers, request.rel_url.path_safe
        if "Expect" in headers:
            await _go_on(request)
        if path.startswith("/v1/"):
            request[CALLER] = self._credentials.caller_of(headers.get("Authorization"))
        handler, task_id = self._routes.find(request.method, path)
        if task_id:
            request[TASK_ID] = task_id
        return await handler(request)


def tenant_of(request: web.BaseRequest) -> TenantId:
    """The tenant of the request's credential."""
    return request[CALLER].tenant_id


async def _go_on(request: web.BaseRequest) -> None:
    """Ask for the body that the client holds back (RFC 9110 section 10.1.1). Raises `web.HTTPExpectationFailed`."""
    if request.version < HttpVersion11:
        return
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(_CONTINUE)
    request.writer.output_size = 0  # else aiohttp takes the response for begun


def _place(error: BaseException) -> str:
    """Where it was raised: the message itself could hold a client's words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace is not None else "unknown"
