"""What is asked on a socket and answered once: the same acts as over HTTP, with the same scopes, limits and bounds."""

from aiohttp import web

from edge.settings import EdgeSettings
from edge.tasks.desk import Desk
from edge.tasks.intake import Intake
from edge.tasks.request import name_task, read_task_id
from edge.ws import wording
from edge.ws.frames import Cancel, Submit
from edge.ws.guest import Entry, Guest
from schemas import scopes


class Work:
    """One instance serves all sockets of an edge. Each method gives the frame that answers."""

    def __init__(self, settings: EdgeSettings, intake: Intake, desk: Desk, entry: Entry) -> None:
        self._settings = settings
        self._intake = intake
        self._desk = desk
        self._entry = entry

    async def submit(self, request: web.BaseRequest, guest: Guest, frame: Submit) -> bytes:
        """`accepted` once it is stored, or `result` when it has ended within the wait."""
        self._intake.turns.check()
        caller = guest.allow(scopes.SUBMIT)
        await self._entry.count(request, caller, "POST /v1/tasks")
        with self._intake.place(caller.tenant_id):
            naming = name_task(frame.idempotency_key, frame.task, caller.tenant_id)
            order = self._intake.order(frame.task, caller.tenant_id, naming, frame.traceparent)
            wait_s = min(frame.wait_s, self._settings.max_wait_s)
            taken, result = await self._intake.submit(order, wait_s=wait_s)
        if result is None:
            return wording.plain("accepted", frame.id, task_id=taken.task_id, replayed=taken.replayed)
        return wording.result(frame.id, taken.task_id, result, replayed=taken.replayed)

    async def cancel(self, request: web.BaseRequest, guest: Guest, frame: Cancel) -> bytes:
        """The `result` of the task, now CANCELED."""
        caller, task_id = guest.allow(scopes.CANCEL), read_task_id(frame.task_id)
        await self._entry.count(request, caller, f"POST /v1/tasks/{task_id}/cancel")
        return wording.result(frame.id, task_id, await self._desk.cancel(caller.tenant_id, task_id))
