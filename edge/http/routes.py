"""Which handler answers a path and a method, and for whom."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from aiohttp import web

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

EVERYBODY: Final = "everybody"
"""In place of a scope: no credential is looked at."""
ANY_CALLER: Final = "any caller"
"""In place of a scope: every good credential will do."""


class Route(NamedTuple):
    """Who may ask, and who answers. There is no default: a route that names no scope cannot be written."""

    scope: str
    handler: Handler


Methods: TypeAlias = Mapping[str, Route]

_VARIABLE = "{task_id}"
_AT = 3
"""The segment of `/v1/<noun>/{task_id}[/...]` that varies, counted from the empty one before the first slash."""


class Routes:
    """Routes by path, then by method. In a path, `{task_id}` stands for any third segment that is not empty."""

    def __init__(self, table: Mapping[str, Methods]) -> None:
        self._table = table

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """The route, and the path's task id, unchecked ("" where it has none).

        Raises `web.HTTPNotFound`, and `web.HTTPMethodNotAllowed` with `Allow`.
        """
        methods, task_id = self._table.get(path), ""
        if methods is None:
            methods, task_id = self._of_task(path)
        route = methods.get(method)
        if route is None:
            raise web.HTTPMethodNotAllowed(method, sorted(methods))
        return route, task_id

    def _of_task(self, path: str) -> tuple[Methods, str]:
        segments = path.split("/")
        task_id = segments[_AT] if len(segments) > _AT else ""
        segments[_AT : _AT + 1] = [_VARIABLE]
        methods = self._table.get("/".join(segments)) if task_id else None
        if methods is None:
            raise web.HTTPNotFound
        return methods, task_id
