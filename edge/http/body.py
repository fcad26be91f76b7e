"""A request's body: JSON, whole, within its bounds, in time."""

from aiohttp import web

from bus.waiting import timeout
from edge.http.wire.connection import connection_of
from schemas.errors import InvalidRequest, PayloadTooLarge

JSON = "application/json"


async def read_body(request: web.BaseRequest, limit_bytes: int, timeout_s: float) -> bytes:
    """All of it. What came with the head is there already: then nothing is waited for.

    Raises `web.HTTPUnsupportedMediaType`, `PayloadTooLarge` before or while it is read, and `InvalidRequest` when it
    is not complete after `timeout_s` or its chunks are not framed as RFC 9112 section 7.1 says.
    """
    _check_form(request)
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(f"{request.content_length} bytes", limit_bytes)
    content = request.content
    body = content.read_nowait() if content.is_eof() else await _in_time(request, limit_bytes, timeout_s)
    if len(body) > limit_bytes:
        raise _too_large(f"{len(body)} bytes", limit_bytes)
    if connection_of(request).broken:
        raise InvalidRequest("the body's chunks are broken: send Content-Length, or chunks as RFC 9112 has them")
    return body


def _check_form(request: web.BaseRequest) -> None:
    said = request.headers.get("Content-Type", JSON)
    if said != JSON and request.content_type != JSON:
        raise web.HTTPUnsupportedMediaType(reason="send Content-Type: application/json")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(reason="send the body uncompressed")


async def _in_time(request: web.BaseRequest, limit_bytes: int, timeout_s: float) -> bytes:
    body = bytearray()
    try:
        async with timeout(timeout_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    raise _too_large(f"over {limit_bytes} bytes", limit_bytes)
    except TimeoutError:
        raise InvalidRequest(f"the body was not complete after {timeout_s:g} s") from None
    return bytes(body)


def _too_large(found: str, limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body has {found}: {limit_bytes} are the limit")
