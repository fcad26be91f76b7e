"""Which web pages may call this edge (Fetch standard, CORS protocol). Nobody's, unless an operator names them.

No cookie is ever read, so `Access-Control-Allow-Credentials` is never sent: a page must hold a key of its own.
"""

from collections.abc import Collection
from typing import Final

from aiohttp import web

from edge.http.answer import Answer

ORIGIN: Final = web.RequestKey("origin", str)
"""The request's origin, once it was found among those allowed."""

_EXPOSED: Final = (
    "Idempotency-Replayed, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, X-Aion-Task-Id, "
    "X-Request-Id"
)
_MAX_AGE_S: Final = 600


class Cors:
    """Allows `origins`, each as `https://host[:port]`; `*` allows any page."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a browser that asks whether it may send a request; None when this is no such question."""
        self._note(request)
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        response = web.Response(status=204, headers={"Vary": "Origin"})
        if ORIGIN in request:
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, HEAD, DELETE"
            response.headers["Access-Control-Allow-Headers"] = "Authorization, *"
            response.headers["Access-Control-Max-Age"] = str(_MAX_AGE_S)
        return response

    def mark(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Say on a response that is not under way yet that the page may read it."""
        if ORIGIN not in request or response.prepared:
            return
        headers = allowed_headers(request[ORIGIN])
        if isinstance(response, Answer):
            response.add_fields("".join(f"{name}: {value}\r\n" for name, value in headers.items()))
        else:
            response.headers.update(headers)

    def _note(self, request: web.BaseRequest) -> None:
        """Only an origin that is allowed word for word is ever repeated."""
        origin = request.headers.get("Origin")
        if origin is not None and "*" in self._origins:
            request[ORIGIN] = "*"
        elif origin in self._origins and origin is not None:
            request[ORIGIN] = origin


def allowed_headers(origin: str) -> dict[str, str]:
    """What tells a browser that a page of `origin` may read the response."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED,
        "Vary": "Origin",
    }
