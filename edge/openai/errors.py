"""What only this door says: its errors, and OpenAI's envelope around every error."""

import json
import math
from http import HTTPStatus

from aiohttp import web

from edge.tasks.errors import BodyInvalid
from schemas.errors import AionError, NotFound


class UnknownModel(NotFound):
    """No model of that name is offered."""

    code = "model_not_found"


class ParamRefused(BodyInvalid):
    """A parameter that the model does not take, and that cannot be ignored."""


class Unanswered(Exception):
    """The task was accepted and gives no answer: `error` says why.

    `once` tells the SDK not to send the request anew (`x-should-retry: false`): without an `Idempotency-Key` that
    would be another task, and another bill.
    """

    def __init__(self, error: AionError, task_id: str, *, once: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.task_id = task_id
        self.once = once


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


def described(error: AionError) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}`; of several faults of a body the first."""
    message, param = error.message, None
    if isinstance(error, BodyInvalid) and error.errors:
        param = _param(error.errors[0].pointer)
        message = f"{param}: {error.errors[0].detail}" if param else error.errors[0].detail
    return _envelope(error.http_status, message, error.code, param)


class Envelope:
    """Every refusal of this door's routes as OpenAI's clients read them."""

    def refused(self, error: AionError, request_id: str) -> web.Response:
        """The response for an error of AION's tree."""
        return answered(error)

    def failed(self, error: web.HTTPException, request_id: str) -> web.Response:
        """The response for an error of the HTTP layer: wrong method, no route."""
        code = HTTPStatus(error.status).name.lower()
        response = _response(error.status, _envelope(error.status, f"{error.reason}: see docs/openai.md", code, None))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response

    def crashed(self, request_id: str) -> web.Response:
        """The response for a fault of ours."""
        return _response(500, _envelope(500, f"a fault of the server: its log names {request_id}", "internal", None))


def answered(error: AionError) -> web.Response:
    """The envelope with its status, and when to come back wherever that can help."""
    response = _response(error.http_status, described(error))
    if error.http_status in (429, 503):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 1)))
    if error.http_status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="aion"'
    return response


def unanswered(failure: Unanswered) -> web.Response:
    """The response for a task that ended without an answer, or did not end in time."""
    response = answered(failure.error)
    response.headers["X-Aion-Task-Id"] = failure.task_id
    if failure.once:
        response.headers["X-Should-Retry"] = "false"
    return response


def _envelope(status: int, message: str, code: str, param: str | None) -> dict[str, object]:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _param(pointer: str) -> str | None:
    """`/messages/0/role` as OpenAI writes it: `messages[0].role`."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    return "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts).removeprefix(".") or None


def _response(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")
