"""PING in Redis' own protocol, against a server that a test plays."""

import asyncio

import pytest
from played import Serve, played
from pydantic import SecretStr

from actors.runtime.settings import RedisSettings
from edge.examine import command, examine
from schemas.finding import Finding


def answering(*answers: bytes) -> tuple[Serve, list[bytes]]:
    """One answer for each command, and what was sent."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            seen.append(await reader.read(1024))
            writer.write(answer)

    return serve, seen


async def asked(url: str) -> Finding:
    (finding,) = await examine(RedisSettings(url=SecretStr(url)))
    return finding


async def test_a_server_that_answers_is_well() -> None:
    serve, seen = answering(b"+PONG\r\n")
    async with played(serve) as port:
        finding = await asked(f"redis://127.0.0.1:{port}/0")
    assert finding == Finding(name="redis", ok=True, found=f"127.0.0.1:{port} answers PING")
    assert seen == [b"*1\r\n$4\r\nPING\r\n"]


async def test_the_credentials_of_the_address_are_used_and_never_shown() -> None:
    serve, seen = answering(b"+OK\r\n", b"+PONG\r\n")
    async with played(serve) as port:
        assert (await asked(f"redis://us%20er:p%C3%A4ss@127.0.0.1:{port}")).ok
    assert seen[0] == command(["AUTH", "us er", "päss"])
    serve, _ = answering(b"-WRONGPASS invalid username-password pair\r\n")
    async with played(serve) as port:
        finding = await asked(f"redis://:hunter2@127.0.0.1:{port}")
    assert "WRONGPASS" in finding.found
    assert "hunter2" not in finding.found + finding.fix


@pytest.mark.parametrize("answer", [b"-NOAUTH Authentication required.\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
async def test_another_answer_is_a_refusal(answer: bytes) -> None:
    serve, _ = answering(answer)
    async with played(serve) as port:
        finding = await asked(f"redis://127.0.0.1:{port}")
    assert (finding.ok, answer.decode().strip() in finding.found) == (False, True)


async def test_no_address_is_said() -> None:
    (finding,) = await examine(RedisSettings())
    assert (finding.ok, finding.found) == (False, "no address is configured")
