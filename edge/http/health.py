"""Probes: whether the loop runs, and whether this edge should be sent requests."""

import json
from collections.abc import Callable, Mapping

from aiohttp import web


class Health:
    """Answers probes. `checks` is asked at each readiness probe; every one must hold."""

    def __init__(self, checks: Callable[[], Mapping[str, bool]]) -> None:
        self._checks = checks

    async def healthz(self, _request: web.BaseRequest) -> web.Response:
        """200 for as long as the loop runs."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _request: web.BaseRequest) -> web.Response:
        """200 or 503, with each check."""
        checks = dict(self._checks())
        ready = all(checks.values())
        body = json.dumps({"status": "ready" if ready else "not ready", "checks": checks}).encode()
        headers = {} if ready else {"Retry-After": "1"}
        return web.Response(status=200 if ready else 503, body=body, content_type="application/json", headers=headers)
