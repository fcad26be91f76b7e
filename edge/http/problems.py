"""Every refusal as `application/problem+json` (RFC 9457)."""

import json
import math
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web

from edge.http.answer import SERVER, Answer
from edge.tasks.errors import BodyInvalid, CancelTooLate
from schemas.errors import AionError, InsufficientScope

CONTENT_TYPE = "application/problem+json"


class Wording(Protocol):
    """How a door says that something went wrong."""

    def refused(self, error: AionError, request_id: str) -> web.StreamResponse:
        """The response for an error of AION's tree."""
        ...

    def failed(self, error: web.HTTPException, request_id: str) -> web.Response:
        """The response for an error of the HTTP layer itself."""
        ...

    def crashed(self, request_id: str) -> web.Response:
        """The response for a fault of ours."""
        ...


class Problems:
    """RFC 9457, what every route says that has no wording of its own."""

    def refused(self, error: AionError, request_id: str) -> Answer:
        """See `problem`."""
        return problem(error, request_id)

    def failed(self, error: web.HTTPException, request_id: str) -> web.Response:
        """See `http_problem`."""
        return http_problem(error, request_id)

    def crashed(self, request_id: str) -> web.Response:
        """See `internal_problem`."""
        return internal_problem(request_id)


def problem(error: AionError, request_id: str) -> Answer:
    """The response for an error of AION's tree, with `Retry-After` wherever coming back can help.

    It is an `Answer`: when too much comes, what is refused must cost least.
    """
    fields = ""
    if error.http_status in (429, 503):
        fields = f"Retry-After: {max(1, math.ceil(error.retry_after_s or 1))}\r\n"
    elif error.http_status == 401:
        fields = 'WWW-Authenticate: Bearer realm="aion"\r\n'
    elif isinstance(error, InsufficientScope):  # RFC 6750 section 3.1
        fields = 'WWW-Authenticate: Bearer realm="aion", error="insufficient_scope"\r\n'
    body = json.dumps(described(error, request_id)).encode()
    return Answer(body, status=error.http_status, fields=fields, kind=CONTENT_TYPE)


def described(error: AionError, request_id: str) -> dict[str, Any]:
    """The members of a problem for an error of AION's tree, wherever it is told."""
    body = _members(error.code, error.http_status, error.message, request_id, retryable=error.retryable)
    if isinstance(error, BodyInvalid):
        body["errors"] = [{"pointer": fault.pointer, "detail": fault.detail} for fault in error.errors]
    if isinstance(error, CancelTooLate):
        body["result"] = json.loads(error.result)
    return body


def http_problem(error: web.HTTPException, request_id: str) -> web.Response:
    """The response for an error of the HTTP layer itself: no route, wrong method, body too large."""
    code = HTTPStatus(error.status).name.lower()
    known = {"request_entity_too_large": "payload_too_large", "content_too_large": "payload_too_large"}
    detail = f"{error.reason}: see docs/http.md for the routes and their bounds"
    response = _response(error.status, _members(known.get(code, code), error.status, detail, request_id))
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def internal_problem(request_id: str) -> web.Response:
    """The response for a fault of ours: it says nothing but where to look."""
    return _response(500, internal_members(request_id))


def internal_members(request_id: str) -> dict[str, Any]:
    """The members of a problem for a fault of ours, wherever it is told."""
    return _members("internal", 500, "this is a fault of the server: its log names it", request_id)


def unread_problem(status: int) -> web.Response:
    """The response for what is no HTTP/1.1 request, or has a head over its bounds: nothing of it can be repeated."""
    code = HTTPStatus(status).name.lower()
    detail = "this is no HTTP/1.1 request, or its head is over the bounds of docs/http.md"
    response = _response(status, _members(code, status, detail, "unread"))
    response.headers["Server"] = SERVER
    return response


def _members(code: str, status: int, detail: str, request_id: str, *, retryable: bool = False) -> dict[str, Any]:
    return {
        "type": f"urn:aion:error:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": request_id,
        "code": code,
        "retryable": retryable,
    }


def _response(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=json.dumps(body).encode(), content_type=CONTENT_TYPE)
