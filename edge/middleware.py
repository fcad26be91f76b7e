"""What happens around every request: ids, the credential, and problems for whatever goes wrong."""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from structlog.typing import FilteringBoundLogger

from actors.runtime import Context
from edge.credentials import Credentials
from edge.problems import http_problem, internal_problem, problem
from edge.trace import read_request_id
from schemas.errors import AionError
from schemas.ids import TenantId

REQUEST_ID: Final = web.RequestKey("request_id", str)
TENANT: Final = web.RequestKey("tenant", str)


def problems(context: Context) -> Middleware:
    """Mints the request id, turns every error into a problem, and lets connections go while the edge drains."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = read_request_id(request.headers.get("X-Request-Id"), context.now_ms())
        request[REQUEST_ID] = request_id
        response = await _answered(request, handler, context.log)
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
            response.headers.setdefault("Cache-Control", "no-store")
            if context.draining.is_set():
                response.force_close()
        return response

    return middleware


def authenticated(credentials: Credentials) -> Middleware:
    """Everything under `/v1/` needs a key, even what does not exist there."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/v1/"):
            request[TENANT] = credentials.tenant_of(request.headers.get("Authorization"))
        return await handler(request)

    return middleware


def tenant_of(request: web.Request) -> TenantId:
    """The tenant that `authenticated` found."""
    return TenantId(request[TENANT])


async def _answered(request: web.Request, handler: Handler, log: FilteringBoundLogger) -> web.StreamResponse:
    request_id = request[REQUEST_ID]
    try:
        return await handler(request)
    except web.HTTPException as error:
        return http_problem(error, request_id)
    except AionError as error:
        if error.http_status >= 500 and not error.retryable:
            log.error("edge.request_failed", request_id=request_id, code=error.code)
        return problem(error, request_id)
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        log.error("edge.request_crashed", request_id=request_id, error=type(error).__name__, at=_place(error))
        return internal_problem(request_id)


def _place(error: BaseException) -> str:
    """Where it was raised: the message itself could hold a client's words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace is not None else "unknown"
