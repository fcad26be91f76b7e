"""The doors that are measured, each as a `Send` that takes one task through it. A new door is one more row here."""

import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import trustme

from aion.v1 import tasks_pb2
from benchmarks.doors.grpc_wire import Call, Calls
from benchmarks.doors.spine import spine
from benchmarks.doors.ws_wire import Submissions
from benchmarks.load import Send
from benchmarks.system.http import Judge, Pool, is_result, prepare
from benchmarks.system.start import HOST, System, free_port, start_edge
from benchmarks.workload import INTENT, TEXT, body
from bus.port import Bus

SPINE: Final = "spine"
PLAIN: Final = "edge"
LIMITED: Final = "edge-limits"
SECURE: Final = "edge-tls"
AMPLE: Final = '{"rpm": 6000000, "burst": 1000000}'
"""A rate that refuses nothing: what counts is that it is asked for."""

SUBMIT: Final = "/aion.v1.AionTasks/Submit"


@dataclass(frozen=True, slots=True)
class Door:
    """One way in. `edge` names the process that serves it, None for the spine; `fill` opens what so many tasks need."""

    name: str
    send: Send
    edge: str | None
    fill: Callable[[int], Awaitable[None]]
    failures: deque[bytes]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each edge listens."""

    plain: int
    grpc: int
    limited: int
    secure: int
    trust: ssl.SSLContext


async def start_edges(system: System, plain: int, grpc: int, folder: Path) -> Ports:
    """Beside the edge that runs: one with limits of key, address and tenant in Valkey, and one with TLS."""
    ca, ports = trustme.CA(), Ports(plain, grpc, free_port(), free_port(), ssl.create_default_context())
    ca.configure_trust(ports.trust)
    leaf = ca.issue_cert(HOST)
    cert, key = folder / "edge.pem", folder / "edge.key"
    cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    key.chmod(0o600)
    limits = {f"AION_LIMITS__{name}": AMPLE for name in ("KEY", "IP", "TENANT")}
    await start_edge(system.children, LIMITED, ports.limited, limits)
    await start_edge(
        system.children, SECURE, ports.secure, {"AION_EDGE__TLS__CERT": str(cert), "AION_EDGE__TLS__KEY": str(key)}
    )
    return ports


@asynccontextmanager
async def open_doors(system: System, bus: Bus, ports: Ports) -> AsyncIterator[list[Door]]:
    """Every door, the spine first."""
    key, token = system.key, await access_token(ports.plain, system.key)
    streamed_chat = json.dumps({**_CHAT, "stream": True}).encode()
    calls = Calls(HOST, ports.grpc, Call(f"{HOST}:{ports.grpc}", SUBMIT, submission(), credential(key)), b"summary")
    pools = [
        (PLAIN, "REST", _pool(ports.plain, key, body())),
        (PLAIN, "REST, access token", _pool(ports.plain, token, body())),
        (LIMITED, "REST, limits", _pool(ports.limited, key, body())),
        (SECURE, "REST, TLS", _pool(ports.secure, key, body(), tls=ports.trust)),
        (PLAIN, "OpenAI chat", _pool(ports.plain, key, json.dumps(_CHAT).encode(), _is_chat, path=_COMPLETIONS)),
        (PLAIN, "OpenAI chat, streamed", _pool(ports.plain, key, streamed_chat, _is_told, path=_COMPLETIONS)),
        (
            PLAIN,
            "SSE: submit, then stream",
            _pool(ports.plain, key, body(), _streamed(ports.plain, key), more="Prefer: respond-async\r\n"),
        ),
    ]
    submissions = Submissions(HOST, ports.plain, key, json.loads(body()))
    async with spine(bus) as send:
        yield [
            Door(SPINE, send, None, _nothing, deque()),
            *(Door(name, pool.send, edge, pool.fill, pool.failures) for edge, name, pool in pools),
            Door("WebSocket submit", submissions.send, PLAIN, submissions.fill, submissions.failures),
            Door("gRPC Submit", calls.send, PLAIN, calls.fill, calls.failures),
        ]
        for _, _, pool in pools:
            pool.close()
        submissions.close()
        calls.close()


def _pool(
    port: int,
    credential: str,
    data: bytes,
    judge: Judge = is_result,
    *,
    path: str = "/v1/tasks",
    more: str = "",
    tls: ssl.SSLContext | None = None,
) -> Pool:
    return Pool(HOST, port, prepare(HOST, port, credential, data, path, more), judge, tls)


def submission() -> bytes:
    """The task of every other door, as a message."""
    request = tasks_pb2.SubmitRequest(task=tasks_pb2.TaskRequest(intent=INTENT))
    request.task.params.update({"text": TEXT})
    return request.SerializeToString()


def credential(key: str) -> dict[str, str]:
    """The metadata of a call."""
    return {"authorization": f"Bearer {key}"}


async def access_token(port: int, key: str) -> str:
    """An access token for an API key; it is good for ten minutes."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{HOST}:{port}/v1/auth/token", headers=credential(key), json={}) as answer,
    ):
        answer.raise_for_status()
        return str((await answer.json())["access_token"])


_COMPLETIONS: Final = "/v1/chat/completions"
_CHAT: Final[Mapping[str, Any]] = {"model": INTENT, "messages": [{"role": "user", "content": TEXT}]}


async def _nothing(_count: int) -> None:
    pass


def _is_chat(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 ") and b'"finish_reason":"stop"' in answer


def _is_told(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 ") and b"data: [DONE]" in answer


def _streamed(port: int, key: str) -> Judge:
    """The acceptance is followed by the stream, which tells the result."""
    tail = f" HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()

    def judge(answer: bytes) -> bool | bytes:
        if answer.startswith(b"HTTP/1.1 202 "):
            at = answer.index(b"Location: /v1/tasks/") + len(b"Location: /v1/tasks/")
            return b"GET /v1/stream/" + answer[at : answer.index(b"\r\n", at)] + tail
        return b"event: done" in answer and b'"status":"OK"' in answer

    return judge
