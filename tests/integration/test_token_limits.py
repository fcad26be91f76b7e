"""Tokens of language models at the doors: reserved before a task is accepted, settled by what its end reports."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI
from twin_edge import End, TwinEdge, answering, twin_edge

from schemas.events import Accepted
from schemas.faces import CHAT
from schemas.registry import EngineAdvert

LLM = EngineAdvert(
    engine="tiny", instance="t1", route="local", intents=(CHAT, "plain"), models=("tiny",), slots=4, free_slots=4
)
ECHO = EngineAdvert(engine="echo", instance="e1", route="local", intents=("echo",), slots=4, free_slots=4)
RATES = {"tokens": {"rpm": 60, "burst": 1000}}


@pytest.fixture
async def twin() -> AsyncIterator[TwinEdge]:
    async with twin_edge(rates=RATES) as twin:
        await twin.admit(LLM, ECHO)
        yield twin


def answer(event: Accepted) -> End | None:
    """A model that uses ten tokens; what is asked to last goes on."""
    if event.brief.intent == "plain":
        return None
    return End({"message": {"content": "ok"}}, tokens=10)


class Client:
    """REST, with a key."""

    def __init__(self, http: aiohttp.ClientSession, twin: TwinEdge) -> None:
        self._http = http
        self._twin = twin

    async def submit(self, intent: str, max_tokens: int, **headers: str) -> tuple[int, dict[str, str]]:
        body = {"intent": intent, "params": {"max_tokens": max_tokens}}
        sent = {"Authorization": f"Bearer {self._twin.key}", **headers}
        async with self._http.post(f"{self._twin.url}/v1/tasks", json=body, headers=sent) as response:
            await response.read()
            return response.status, dict(response.headers)


@pytest.fixture
async def client(twin: TwinEdge) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(http, twin)


async def test_what_is_not_used_comes_back_over_rest_and_over_the_openai_door(twin: TwinEdge, client: Client) -> None:
    """Eight requests of up to 900 tokens, where 1000 are the limit: each is settled before the next comes."""
    messages: Any = [{"role": "user", "content": "hi"}]
    async with (
        answering(twin, answer),
        AsyncOpenAI(base_url=f"{twin.url}/v1", api_key=twin.key, max_retries=0) as sdk,
    ):
        for _ in range(4):
            assert (await client.submit(CHAT, 900))[0] == 200
            await asyncio.sleep(0.02)
            await sdk.chat.completions.create(model="tiny", messages=messages, max_tokens=900)
            await asyncio.sleep(0.02)


async def test_every_answer_says_how_many_tokens_are_left(twin: TwinEdge, client: Client) -> None:
    """Of the bucket nearest to empty, which another tenant knows nothing of."""
    status, headers = await client.submit("plain", 600, Prefer="respond-async")
    name, left, _ = headers["RateLimit"].split(";")
    assert (status, name) == (202, '"tokens"')
    assert 380 < int(left.removeprefix("r=")) < 400  # the params count too
    assert headers["RateLimit-Policy"] == '"tokens";q=60;w=60;aion-burst=1000'
    async with aiohttp.ClientSession() as http:
        for key, most in ((twin.key, 400), (await twin.issue("other"), 1000)):
            await asyncio.sleep(0.02)
            async with http.get(f"{twin.url}/v1/intents", headers={"Authorization": f"Bearer {key}"}) as response:
                told = int(response.headers["RateLimit"].split(";")[1].removeprefix("r="))
                assert most - 20 < told <= most


async def test_without_tokens_left_every_door_refuses_and_says_when_to_come_back(
    twin: TwinEdge, client: Client
) -> None:
    """Nobody waits for the first task, and nobody ends it."""
    assert (await client.submit("plain", 990, Prefer="respond-async"))[0] == 202
    status, headers = await client.submit(CHAT, 20)
    assert (status, headers["RateLimit"]) == (429, f'"tokens";r=0;t={headers["Retry-After"]}')
    assert headers["RateLimit-Policy"] == '"tokens";q=60;w=60;aion-burst=1000'
    assert 10 <= int(headers["Retry-After"]) <= 30
    async with AsyncOpenAI(base_url=f"{twin.url}/v1", api_key=twin.key, max_retries=0) as sdk:
        with pytest.raises(openai.RateLimitError) as refused:
            await sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=20)
        assert 10 <= int(refused.value.response.headers["Retry-After"]) <= 60
        with pytest.raises(openai.BadRequestError, match="1000 at once are the limit"):
            await sdk.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=5000
            )


async def test_a_task_that_nobody_waits_for_is_settled_as_well_and_a_replay_costs_nothing(
    twin: TwinEdge, client: Client
) -> None:
    async with answering(twin, answer):
        key = {"Idempotency-Key": "k-1", "Prefer": "respond-async"}
        assert (await client.submit(CHAT, 900, **key))[0] == 202
        await asyncio.sleep(0.1)
        for _ in range(3):
            status, headers = await client.submit(CHAT, 900, **key)
            assert (status, headers["Idempotency-Replayed"]) == (200, "true")
            await asyncio.sleep(0.02)
        assert (await client.submit(CHAT, 900))[0] == 200


async def test_what_no_model_answers_does_not_count(twin: TwinEdge, client: Client) -> None:
    async with answering(twin, answer):
        assert (await client.submit("echo", 99_999))[0] == 200
