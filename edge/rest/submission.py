"""`POST /v1/tasks`: read, accept, wait."""

import json

from aiohttp import web

from edge.http.answer import Answer
from edge.http.body import read_body
from edge.http.front import tenant_of
from edge.http.headers import Preference, read_prefer
from edge.settings import EdgeSettings
from edge.tasks.acceptance import Taken
from edge.tasks.intake import Intake
from edge.tasks.request import name_task, read_request


class Submission:
    """Takes tasks in: one instance serves all requests of an edge."""

    def __init__(self, settings: EdgeSettings, intake: Intake) -> None:
        self._settings = settings
        self._intake = intake

    async def post(self, request: web.BaseRequest) -> Answer:
        """200 with the canonical result, or 202 with where to find it; both only after the append was confirmed."""
        settings, headers = self._settings, request.headers
        tenant_id = tenant_of(request)
        with self._intake.place(tenant_id):
            prefer = read_prefer(headers.getall("Prefer", []), settings.default_wait_s, settings.max_wait_s)
            body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
            task = read_request(body, settings.max_depth)
            naming = name_task(headers.get("Idempotency-Key"), task, tenant_id)
            order = self._intake.order(task, tenant_id, naming, headers.get("traceparent"))
            taken, result = await self._intake.submit(order, wait_s=prefer.wait_s)
        return answer(taken, result, prefer)


def answer(taken: Taken, result: bytes | None, prefer: Preference) -> Answer:
    """The response for a task that is AION's; `result` is its canonical JSON if it has ended."""
    url = f"/v1/tasks/{taken.task_id}"
    fields = f"Location: {url}\r\n"
    if taken.replayed:
        fields += "Idempotency-Replayed: true\r\n"
    if prefer.applied is not None:
        fields += f"Preference-Applied: {prefer.applied}\r\n"
    if result is not None:
        return Answer(result, fields=fields)
    body = json.dumps({"task_id": taken.task_id, "status_url": url}).encode()
    return Answer(body, status=202, fields=fields)
