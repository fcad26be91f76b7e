"""From an upgrade request to an open socket, or to a refusal over HTTP (RFC 6455 section 4.2)."""

from collections.abc import Collection
from typing import Final

from aiohttp import HttpVersion11, web

from edge.http.answer import REQUEST_ID, SERVER
from edge.http.cors import ORIGIN
from edge.http.problems import http_problem
from edge.ws.socket import Socket, unprepared
from schemas.errors import Forbidden, InvalidRequest

PROTOCOL: Final = "aion.v1"
VERSION: Final = "13"


def upgrade_required(request: web.BaseRequest) -> web.Response:
    """426 for who asks without an upgrade, or for another version of it (RFC 6455 section 4.4)."""
    response = http_problem(web.HTTPUpgradeRequired(), request[REQUEST_ID])
    response.headers.update({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": VERSION})
    return response


def is_current(request: web.BaseRequest) -> bool:
    """Whether the client speaks the one version there is."""
    return request.version >= HttpVersion11 and request.headers.get("Sec-WebSocket-Version") == VERSION


def check(request: web.BaseRequest, parameters: Collection[str] = ()) -> None:
    """Raise `InvalidRequest` or `Forbidden` for what no socket is opened for.

    Nothing of a query is repeated or logged: somebody may have put a credential there.
    """
    if any(name not in parameters for name in request.query):
        raise InvalidRequest("that query is not taken here, a credential least of all: send it in the first frame")
    if "Origin" in request.headers and ORIGIN not in request:
        raise Forbidden("pages of that origin may not call this edge: AION_EDGE__CORS_ORIGINS names those that may")
    offered = request.headers.get("Sec-WebSocket-Protocol")
    if offered is not None and PROTOCOL not in [name.strip() for name in offered.split(",")]:
        raise InvalidRequest(f"none of the subprotocols that were offered is spoken here: offer {PROTOCOL}, or none")


async def accept(
    request: web.BaseRequest, *, max_frame_bytes: int, write_timeout_s: float
) -> tuple["web.WebSocketResponse[bool]", Socket]:
    """The open socket. Raises `web.HTTPBadRequest` for a key that is none."""
    response = unprepared(PROTOCOL, max_frame_bytes)
    response.headers.update({"X-Request-Id": request[REQUEST_ID], "Server": SERVER})
    await response.prepare(request)
    return response, Socket(request, response, write_timeout_s)
