"""Which handler answers a path and a method, and for whom."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from aiohttp import web

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

EVERYBODY: Final = "everybody"
"""In place of a scope: no credential is looked at."""
ANY_CALLER: Final = "any caller"
"""In place of a scope: every good credential will do."""


class Route(NamedTuple):
    """Who may ask, and who answers. There is no default: a route that names no scope cannot be written.

    `upgrade` answers who asks for a WebSocket. Without any credential it is asked as well, and sees to that itself.
    """

    scope: str
    handler: Handler
    upgrade: Handler | None = None


Methods: TypeAlias = Mapping[str, Route]

_NAMED = re.compile(r"\{\w+\}")
_VARIABLE = "{}"
_AT = 3
"""The segment of `/v1/<noun>/{id}[/...]` that varies, counted from the empty one before the first slash."""


class Routes:
    """Routes by path, then by method. In a path, `{name}` stands for any third segment that is not empty."""

    def __init__(self, table: Mapping[str, Methods]) -> None:
        self.paths = {path: tuple(methods) for path, methods in table.items()}
        self._table = {_NAMED.sub(_VARIABLE, path): methods for path, methods in table.items()}

    def of_scope(self, scope: str) -> list[str]:
        """The paths without a variable to which a `POST` needs this scope."""
        found = [path for path, methods in self._table.items() if "POST" in methods and methods["POST"].scope is scope]
        return [path for path in found if _VARIABLE not in path]

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """The route, and what stands in the path's variable, unchecked ("" where it has none).

        Raises `web.HTTPNotFound`, and `web.HTTPMethodNotAllowed` with `Allow`.
        """
        methods, varying = self._table.get(path), ""
        if methods is None:
            methods, varying = self._of_one(path)
        route = methods.get(method)
        if route is None:
            raise web.HTTPMethodNotAllowed(method, sorted(methods))
        return route, varying

    def _of_one(self, path: str) -> tuple[Methods, str]:
        segments = path.split("/")
        varying = segments[_AT] if len(segments) > _AT else ""
        segments[_AT : _AT + 1] = [_VARIABLE]
        methods = self._table.get("/".join(segments)) if varying else None
        if methods is None:
            raise web.HTTPNotFound
        return methods, varying
