"""One tenant cannot have all of an edge: a share of the places for submissions, reads and streams stays for others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from twin_edge import TwinEdge, twin_edge

from bus.subjects import accepted
from schemas.registry import EngineAdvert
from schemas.task import Priority

ECHO = EngineAdvert(engine="echo", instance="e1", route="local", intents=("echo",), slots=4, free_slots=4)


@pytest.fixture
async def twin() -> AsyncIterator[TwinEdge]:
    async with twin_edge(max_waiting=4, max_open_streams=4, tenant_share=0.75) as twin:
        await twin.admit(ECHO)
        yield twin


class Client:
    """A tenant's key."""

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str) -> None:
        self._http = http
        self._url = url
        self._auth = {"Authorization": f"Bearer {key}"}

    async def submit(self, prefer: str) -> tuple[int, str, str]:
        """Status, `Retry-After`, and the task's id or the problem's detail."""
        headers = self._auth | {"Prefer": prefer}
        async with self._http.post(f"{self._url}/v1/tasks", json={"intent": "echo"}, headers=headers) as response:
            said = await response.json()
            told = said.get("task_id") or said.get("detail", "")
            return response.status, response.headers.get("Retry-After", ""), told

    async def stream(self, task_id: str, stack: AsyncExitStack) -> int:
        """The status; a stream that was opened stays open as long as `stack`."""
        asked = self._http.get(f"{self._url}/v1/stream/{task_id}", headers=self._auth)
        return (await stack.enter_async_context(asked)).status


@pytest.fixture
async def clients(twin: TwinEdge) -> AsyncIterator[tuple[Client, Client]]:
    async with aiohttp.ClientSession() as http:
        yield Client(http, twin.url, twin.key), Client(http, twin.url, await twin.issue("other"))


async def inside(twin: TwinEdge, what: str, count: int) -> None:
    async with asyncio.timeout(5):
        while twin.edge.status()[what] != count:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


async def test_a_tenant_that_waits_in_every_place_it_may_have_leaves_one_for_another(
    twin: TwinEdge, clients: tuple[Client, Client]
) -> None:
    greedy, other = clients
    waiting = [asyncio.create_task(greedy.submit("wait=20")) for _ in range(3)]
    await inside(twin, "submissions", 3)
    status, retry_after, detail = await greedy.submit("respond-async")
    assert (status, retry_after) == (429, "1")
    assert "of this tenant" in detail
    assert (await other.submit("respond-async"))[0] == 202
    held = asyncio.create_task(other.submit("wait=20"))
    await inside(twin, "submissions", 4)
    status, _, detail = await other.submit("respond-async")
    assert status == 429
    assert "of this tenant" not in detail
    for task in (*waiting, held):
        task.cancel()
    await asyncio.gather(*waiting, held, return_exceptions=True)
    await inside(twin, "submissions", 0)
    assert (await greedy.submit("respond-async"))[0] == 202, "places come back"


async def test_a_tenant_that_streams_all_it_may_leaves_a_stream_for_another(
    twin: TwinEdge, clients: tuple[Client, Client]
) -> None:
    greedy, other = clients
    mine, theirs = [(await one.submit("respond-async"))[2] for one in clients]
    async with AsyncExitStack() as stack:
        assert [await greedy.stream(mine, stack) for _ in range(4)] == [200, 200, 200, 429]
        assert [await other.stream(theirs, stack) for _ in range(2)] == [200, 429]
    await inside(twin, "streams", 0)


async def test_a_tenant_whose_tasks_wait_unanswered_leaves_room_in_the_backlog_for_another() -> None:
    async with (
        twin_edge(max_backlog=4, tenant_share=0.5) as twin,
        twin.bus.queue.take(accepted(Priority.NORMAL), slots=1),  # a router's cursor, which nobody reads
        aiohttp.ClientSession() as http,
    ):
        await twin.admit(ECHO)
        greedy, other = Client(http, twin.url, twin.key), Client(http, twin.url, await twin.issue("other"))
        assert [(await greedy.submit("respond-async"))[0] for _ in range(2)] == [202, 202]
        await inside(twin, "backlog", 2)
        status, retry_after, detail = await greedy.submit("respond-async")
        assert (status, retry_after) == (429, "2")
        assert "2 tasks of this tenant" in detail
        assert (await other.submit("respond-async"))[0] == 202


async def test_a_submission_that_was_refused_or_repeated_takes_no_room(twin: TwinEdge) -> None:
    key = {"Authorization": f"Bearer {twin.key}", "Idempotency-Key": "one", "Prefer": "respond-async"}
    async with aiohttp.ClientSession(headers=key) as http:
        for intent, status in (("nobody-answers", 404), ("echo", 202), ("echo", 202), ("echo", 202)):
            async with http.post(f"{twin.url}/v1/tasks", json={"intent": intent}) as response:
                assert response.status == status
    assert twin.edge.status()["open_tasks"] == 1
