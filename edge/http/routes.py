"""Which handler answers a path and a method."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Methods: TypeAlias = Mapping[str, Handler]

_VARIABLE = "{task_id}"
_AT = 3
"""The segment of `/v1/<noun>/{task_id}[/...]` that varies, counted from the empty one before the first slash."""


class Routes:
    """Handlers by path, then by method. In a path, `{task_id}` stands for any third segment that is not empty."""

    def __init__(self, table: Mapping[str, Methods]) -> None:
        self._table = table

    def find(self, method: str, path: str) -> tuple[Handler, str]:
        """The handler, and the path's task id, unchecked ("" where it has none).

        Raises `web.HTTPNotFound`, and `web.HTTPMethodNotAllowed` with `Allow`.
        """
        methods, task_id = self._table.get(path), ""
        if methods is None:
            methods, task_id = self._of_task(path)
        handler = methods.get(method)
        if handler is None:
            raise web.HTTPMethodNotAllowed(method, sorted(methods))
        return handler, task_id

    def _of_task(self, path: str) -> tuple[Methods, str]:
        segments = path.split("/")
        task_id = segments[_AT] if len(segments) > _AT else ""
        segments[_AT : _AT + 1] = [_VARIABLE]
        methods = self._table.get("/".join(segments)) if task_id else None
        if methods is None:
            raise web.HTTPNotFound
        return methods, task_id
