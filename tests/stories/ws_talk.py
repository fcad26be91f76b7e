"""A WebSocket client that nobody here wrote, in the middle of a talk with an edge."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twin_edge import TwinEdge
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


class Talk:
    """A client in the middle of a talk."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind} | fields))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            found: dict[str, Any] = json.loads(await self.socket.recv())
        return found

    async def some(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]

    async def silent(self) -> bool:
        """Whether nothing comes before an answer that is asked for now."""
        await self.send("ping", id="silent?")
        return bool((await self.next())["type"] == "pong")

    async def code(self) -> tuple[int, list[dict[str, Any]]]:
        """The close code, and what was said before."""
        said = []
        try:
            while True:
                said.append(await self.next())
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006, said


@asynccontextmanager
async def talking(twin: TwinEdge, path: str = "/v1/ws", key: str | None = "", **options: Any) -> AsyncIterator[Talk]:
    """With the twin's key, another, or none (None). What `/v1/ws` says first was read when there is a key."""
    text = twin.key if key == "" else key
    headers = options.pop("headers", {}) | ({} if text is None else {"Authorization": f"Bearer {text}"})
    scheme, host = ("wss", "localhost") if options.get("ssl") else ("ws", "127.0.0.1")
    url = f"{scheme}://{host}:{twin.edge.port}{path}"
    async with connect(url, additional_headers=headers, proxy=None, **options) as socket:
        talk = Talk(socket)
        if text is not None and path == "/v1/ws":
            assert (await talk.next())["type"] == "welcome"
        yield talk
