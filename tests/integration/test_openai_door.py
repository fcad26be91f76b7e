"""The official OpenAI SDK against an edge over the twin of the bus: every answer, every error by its type."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from twin_edge import DIGEST, End, TwinEdge, answering, speaking, twin_edge

from schemas.events import Accepted, Outcome
from schemas.faces import CHAT, EMBEDDINGS, ChatFace, EmbeddingsFace
from schemas.registry import EngineAdvert, ModuleRecord
from schemas.result import TaskError

ECHO = ModuleRecord(
    name="echo_text", version="1.0.0", digest=DIGEST, intents=("echo",),
    openai=ChatFace(takes="last-user-message", param="text", answer="/said", prompt_tokens="/counts/words"),
)  # fmt: skip
COUNT = ModuleRecord(
    name="count_text", version="1.0.0", digest=DIGEST, intents=("count",),
    openai=EmbeddingsFace(param="texts", dimensions="size", vectors="/vectors", prompt_tokens="/words"),
)  # fmt: skip
PLAIN = ModuleRecord(name="plain", version="1.0.0", digest=DIGEST, intents=("plain",))
TINY = EngineAdvert(
    engine="tiny", instance="t1", route="local", intents=(CHAT, EMBEDDINGS), models=("tiny/llm-1",), slots=4,
    free_slots=4,
)  # fmt: skip
VENDOR = EngineAdvert(
    engine="vendor", instance="v1", route="api", intents=(CHAT,), models=("vendor-llm",), slots=4, free_slots=4
)
HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
FAILURES = {
    "input_invalid": End({}, Outcome.FAILED, TaskError(code="input_invalid", message="params: /text")),
    "module_error": End({}, Outcome.FAILED, TaskError(code="module_error", message="trap")),
    "forbidden": End({}, Outcome.DENIED, TaskError(code="forbidden", message="policy")),
    "deadline_exceeded": End({}, Outcome.TIMEOUT, TaskError(code="deadline_exceeded", message="late")),
    "cancelled": End({}, Outcome.CANCELLED),
    "output_invalid": End({"said": 7}),
}


def answer(event: Accepted) -> End | None:
    """The packages and the models of this file."""
    match event.brief.intent:
        case "echo" if event.params["text"] == "wait":
            return None
        case "echo" if event.params["text"] in FAILURES:
            return FAILURES[event.params["text"]]
        case "echo":
            return End({"said": f"you said {event.params['text']}", "counts": {"words": 3}})
        case "count":
            size = event.params.get("size", 2)
            return End({"vectors": [[0.5, *[0.0] * (size - 1)]] * len(event.params["texts"]), "words": 7})
        case "embeddings":
            return End({"vectors": [[1.0]] * len(event.params["input"]), "usage": {"prompt_tokens": 4}})
        case _:
            return _llm(event.params)


def _llm(params: dict[str, Any]) -> End:
    usage = {"prompt_tokens": 11, "completion_tokens": 5}
    if "tools" in params:
        return End({"message": {"content": None, "tool_calls": [CALL]}, "usage": usage})
    said = f"{params['model']} at {params.get('temperature')} read {len(params['messages'])}"
    return End({"message": {"content": said}, "finish_reason": "length", "usage": usage})


@pytest.fixture
async def twin() -> AsyncIterator[TwinEdge]:
    async with twin_edge(heartbeat_s=0.05) as twin:
        await twin.admit(ECHO, COUNT, PLAIN, TINY, VENDOR)
        yield twin


@pytest.fixture
async def seen(twin: TwinEdge) -> AsyncIterator[list[Accepted]]:
    async with answering(twin, answer) as seen:
        yield seen


def client_of(twin: TwinEdge, *, api_key: str | None = None, max_retries: int = 0) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{twin.url}/v1", api_key=api_key or twin.key, max_retries=max_retries)


@pytest.fixture
async def client(twin: TwinEdge) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(twin) as client:
        yield client


async def test_a_chat_is_a_task_and_its_answer_names_it(
    twin: TwinEdge, seen: list[Accepted], client: AsyncOpenAI
) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="echo", messages=HI, metadata={"k": "v"})
    done = raw.parse()
    assert (done.choices[0].message.role, done.choices[0].message.content) == ("assistant", "you said hi")
    assert (done.choices[0].finish_reason, done.object, done.model) == ("stop", "chat.completion", "echo")
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (3, 0, 3)
    task_id = raw.headers["X-Aion-Task-Id"]
    assert done.id == f"chatcmpl-{task_id}"
    assert await twin.history(task_id) == ["accepted", "ended.completed"]
    assert (seen[0].params, seen[0].metadata, seen[0].brief.intent) == ({"text": "hi"}, {"k": "v"}, "echo")
    assert done.created == seen[0].at_ms // 1000


async def test_the_last_user_message_is_the_text_and_parts_are_joined(
    seen: list[Accepted], client: AsyncOpenAI
) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "se"}, {"type": "text", "text": "cond"}]},
        {"role": "assistant", "content": "aha"},
    ]
    await client.chat.completions.create(model="echo", messages=messages, temperature=0.1, max_tokens=9, seed=1)
    assert seen[0].params == {"text": "second"}


async def test_a_stream_tells_the_answer_its_end_and_its_usage(seen: list[Accepted], client: AsyncOpenAI) -> None:
    long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "ü" * 2000}]
    stream = await client.chat.completions.create(
        model="echo", messages=long, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == f"you said {'ü' * 2000}"
    assert len([text for text in texts if text]) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 3
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    plain = [chunk async for chunk in await client.chat.completions.create(model="echo", messages=HI, stream=True)]
    assert all(chunk.choices and chunk.usage is None for chunk in plain)


async def test_the_blocking_client_is_served_too(twin: TwinEdge, seen: list[Accepted]) -> None:
    def ask() -> tuple[str | None, str, list[str]]:
        with OpenAI(base_url=f"{twin.url}/v1", api_key=twin.key, max_retries=0) as client:
            chat = client.chat.completions.create(model="echo", messages=HI)
            stream = client.chat.completions.create(model="echo", messages=HI, stream=True)
            said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            return chat.choices[0].message.content, said, [model.id for model in client.models.list()]

    assert await asyncio.to_thread(ask) == ("you said hi", "you said hi", ["count", "echo", "tiny/llm-1", "vendor-llm"])


async def test_completions_are_told_whole_and_in_a_stream(seen: list[Accepted], client: AsyncOpenAI) -> None:
    done = await client.completions.create(model="echo", prompt="go on")
    assert (done.choices[0].text, done.choices[0].finish_reason, done.id[:5]) == ("you said go on", "stop", "cmpl-")
    stream = await client.completions.create(model="echo", prompt="go on", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "you said go on"
    await client.completions.create(model="tiny/llm-1", prompt="go on")
    assert seen[-1].params["messages"] == [{"role": "user", "content": "go on"}]


async def test_models_are_listed_and_found_whatever_is_in_their_name(client: AsyncOpenAI) -> None:
    listed = {model.id: model.owned_by async for model in client.models.list()}
    assert listed == {"echo": "echo_text", "count": "count_text", "tiny/llm-1": "tiny", "vendor-llm": "vendor"}
    assert (await client.models.retrieve("tiny/llm-1")).id == "tiny/llm-1"
    with pytest.raises(openai.NotFoundError) as missing:
        await client.models.retrieve("plain")  # an intent without a face is no model
    assert missing.value.code == "model_not_found"


async def test_embeddings_come_as_numbers_or_packed(twin: TwinEdge, seen: list[Accepted], client: AsyncOpenAI) -> None:
    packed = await client.embeddings.create(model="count", input=["a", "b"], dimensions=5)  # the SDK asks for base64
    plain = await client.embeddings.create(model="count", input=["a", "b"], dimensions=5, encoding_format="float")
    assert packed.data[1].embedding == plain.data[1].embedding == [0.5, 0.0, 0.0, 0.0, 0.0]
    assert [one.index for one in plain.data] == [0, 1]
    assert plain.usage.total_tokens == 7
    assert seen[0].params == {"texts": ["a", "b"], "size": 5}
    body = {"model": "count", "input": "a", "encoding_format": "base64"}
    status, _, found = await call(twin, "/v1/embeddings", json=body)
    assert (status, found["data"][0]["embedding"]) == (200, "AAAAPwAAAAA=")


async def test_an_engines_models_are_asked_in_openais_own_words(seen: list[Accepted], client: AsyncOpenAI) -> None:
    done = await client.chat.completions.create(model="tiny/llm-1", messages=HI, temperature=0.5, seed=7)
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == ("tiny/llm-1 at 0.5 read 1", "length")
    assert done.usage is not None
    assert done.usage.total_tokens == 16
    assert (seen[0].brief.intent, seen[0].brief.preferred_engine, seen[0].params["seed"]) == ("chat", "tiny", 7)
    assert (await client.embeddings.create(model="tiny/llm-1", input="a")).data[0].embedding == [1.0]


async def test_calls_of_tools_pass_through_for_a_model_that_takes_them(
    seen: list[Accepted], client: AsyncOpenAI
) -> None:
    asked: dict[str, Any] = {"model": "tiny/llm-1", "messages": HI, "tools": [TOOL], "tool_choice": "auto"}
    done = await client.chat.completions.create(**asked)
    assert done.choices[0].finish_reason == "tool_calls"
    assert done.choices[0].message.tool_calls is not None
    assert done.choices[0].message.tool_calls[0].id == "call-1"
    assert seen[0].params["tools"] == [TOOL]
    stream = await client.chat.completions.create(**asked, stream=True)
    deltas = [chunk.choices[0].delta.tool_calls async for chunk in stream]
    assert [delta[0].function.name for delta in deltas if delta] == ["weather"]


async def test_a_vendors_model_is_asked_only_by_who_allows_it(seen: list[Accepted], client: AsyncOpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="privacy"):
        await client.chat.completions.create(model="vendor-llm", messages=HI)
    assert seen == []
    allowed = {"sla": {"privacy": "allow-api", "timeout_s": 9}, "priority": "normal"}
    await client.chat.completions.create(model="vendor-llm", messages=HI, extra_body=allowed)
    assert seen[0].brief.privacy.value == "allow-api"
    assert seen[0].brief.deadline_ms - seen[0].brief.accepted_at_ms == 9000


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown parameter": ({"extra_body": {"temprature": 1}}, "temprature"),
    "more than one choice": ({"n": 2}, "n"),
    "log probabilities": ({"logprobs": True}, "logprobs"),
    "tools": ({"tools": [TOOL]}, "tools"),
    "a forced tool": ({"tool_choice": "required"}, "tool_choice"),
    "a wanted form": ({"response_format": {"type": "json_object"}}, "response_format"),
    "stop words": ({"stop": ["."]}, "stop"),
    "a picture": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages[0].content[0]",
    ),
    "nobody's word": ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    "no message": ({"messages": []}, "messages"),
    "a strange role": ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
    "too much time": ({"extra_body": {"sla": {"timeout_s": 1801}}}, "sla.timeout_s"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_would_change_the_answer_is_refused_by_name(
    twin: TwinEdge, seen: list[Accepted], client: AsyncOpenAI, name: str
) -> None:
    asked, param = REFUSED[name]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(**{"model": "echo", "messages": HI} | asked)
    assert (refused.value.param, refused.value.code, refused.value.type) == (
        param, "invalid_request", "invalid_request_error",
    )  # fmt: skip
    assert (await twin.bus.log.info()).last == 0


async def test_what_asks_for_nothing_special_is_not_refused(seen: list[Accepted], client: AsyncOpenAI) -> None:
    nothing: dict[str, Any] = {
        "n": 1, "logprobs": False, "tools": [], "tool_choice": "none", "response_format": {"type": "text"},
        "stop": None, "logit_bias": {}, "user": "u", "store": False, "parallel_tool_calls": True,
    }  # fmt: skip
    done = await client.chat.completions.create(model="echo", messages=HI, **nothing)
    assert done.choices[0].message.content == "you said hi"


async def test_each_refusal_is_raised_as_its_own_type(
    twin: TwinEdge, seen: list[Accepted], client: AsyncOpenAI
) -> None:
    ask = client.chat.completions.create
    async with client_of(twin, api_key="aion_wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await stranger.chat.completions.create(model="echo", messages=HI)
    assert unknown.value.request_id == unknown.value.response.headers["x-request-id"]
    with pytest.raises(openai.NotFoundError) as missing:
        await ask(model="gpt-0", messages=HI)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="embeddings"):
        await ask(model="count", messages=HI)
    with pytest.raises(openai.BadRequestError) as tokens:
        await client.embeddings.create(model="count", input=[1, 2, 3])
    assert (tokens.value.param or "").startswith("input")
    with pytest.raises(openai.BadRequestError, match="input"):
        await client.embeddings.create(model="count", input="")
    key = {"Idempotency-Key": "k-1"}
    await ask(model="echo", messages=HI, extra_headers=key)
    with pytest.raises(openai.UnprocessableEntityError) as reused:
        await ask(model="echo", messages=[{"role": "user", "content": "else"}], extra_headers=key)
    assert reused.value.code == "key_reused"
    with pytest.raises(openai.APIStatusError) as large:
        await ask(model="echo", messages=[{"role": "user", "content": "x" * 300_000}])
    assert (large.value.status_code, large.value.code) == (413, "payload_too_large")


ENDS: dict[str, tuple[type[openai.APIStatusError], int]] = {
    "input_invalid": (openai.BadRequestError, 400),
    "module_error": (openai.InternalServerError, 500),
    "forbidden": (openai.PermissionDeniedError, 403),
    "deadline_exceeded": (openai.InternalServerError, 504),
    "cancelled": (openai.ConflictError, 409),
    "output_invalid": (openai.InternalServerError, 500),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_task_that_does_not_answer_raises_and_is_not_asked_again(
    twin: TwinEdge, seen: list[Accepted], end: str
) -> None:
    kind, status = ENDS[end]
    async with client_of(twin, max_retries=3) as client:
        with pytest.raises(kind) as raised:
            await client.chat.completions.create(model="echo", messages=[{"role": "user", "content": end}])
        assert (raised.value.status_code, raised.value.code) == (status, end)
        assert raised.value.response.headers["X-Aion-Task-Id"] == seen[0].task_id
        assert len(seen) == 1
        stream = await client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": end}], stream=True
        )
        with pytest.raises(openai.APIError) as told:
            async for _ in stream:
                pass
        assert told.value.code == end


async def test_what_an_engine_says_is_told_while_it_works(twin: TwinEdge, client: AsyncOpenAI) -> None:
    told = asyncio.Event()
    async with speaking(twin, ("you ", "said"), End({"said": "you said hello"}), told):
        stream = await client.chat.completions.create(model="echo", messages=HI, stream=True)
        texts = []
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")
            if texts[-1] == "said":
                told.set()  # only now does the task end
    assert [text for text in texts if text] == ["you ", "said", " hello"]


async def test_a_text_that_cannot_be_continued_ends_in_an_error(twin: TwinEdge, client: AsyncOpenAI) -> None:
    told = asyncio.Event()
    told.set()
    async with speaking(twin, ("I ", "said"), End({"said": "you said hello"}), told):
        stream = await client.chat.completions.create(model="echo", messages=HI, stream=True)
        with pytest.raises(openai.APIError, match="given up"):
            _ = [chunk async for chunk in stream]


async def test_a_stream_that_fails_has_no_done(twin: TwinEdge, seen: list[Accepted]) -> None:
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "module_error"}]}
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"{twin.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {twin.key}"}
        ) as response,
    ):
        text = (await response.read()).decode()
    assert response.status == 200
    assert "[DONE]" not in text
    assert '"code":"module_error"' in text.rstrip().splitlines()[-1]


async def test_a_bound_is_a_rate_limit_error_that_says_when_to_come_back() -> None:
    async with AsyncExitStack() as stack:
        small = await stack.enter_async_context(twin_edge(max_waiting=1))
        await small.admit(ECHO)
        await stack.enter_async_context(answering(small, answer))
        client = await stack.enter_async_context(client_of(small))
        wait: list[ChatCompletionMessageParam] = [{"role": "user", "content": "wait"}]
        waiting = asyncio.create_task(client.chat.completions.create(model="echo", messages=wait))
        await until(lambda: small.edge.status()["submissions"] == 1)
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model="echo", messages=HI)
        assert refused.value.response.headers["Retry-After"] == "1"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        small.edge_bus.kill()
        with pytest.raises(openai.InternalServerError) as away:
            await client.chat.completions.create(model="echo", messages=HI)
        assert (away.value.status_code, away.value.code) == (503, "bus_disconnected")


async def test_one_key_is_one_task_and_the_same_answer(
    twin: TwinEdge, seen: list[Accepted], client: AsyncOpenAI
) -> None:
    key = {"Idempotency-Key": "order-7"}
    raws = [
        await client.chat.completions.with_raw_response.create(model="echo", messages=HI, extra_headers=key)
        for _ in range(3)
    ]
    assert len({raw.http_response.content for raw in raws}) == 1
    assert [raw.headers.get("Idempotency-Replayed") for raw in raws] == [None, "true", "true"]
    assert len(seen) == 1
    streamed = await client.chat.completions.create(model="echo", messages=HI, extra_headers=key, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in streamed]) == "you said hi"
    assert len(seen) == 1


async def test_a_client_that_goes_away_cancels_its_task(
    twin: TwinEdge, seen: list[Accepted], client: AsyncOpenAI
) -> None:
    wait: list[ChatCompletionMessageParam] = [{"role": "user", "content": "wait"}]
    stream = await client.chat.completions.create(model="echo", messages=wait, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await until(lambda: twin.edge.status()["abandoned"] == 1)
    assert await twin.history(seen[0].task_id) == ["accepted", "ended.cancelled"]
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.2).chat.completions.create(model="echo", messages=wait)
    await until(lambda: twin.edge.status()["abandoned"] == 2)
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.2).chat.completions.create(
            model="echo", messages=wait, extra_headers={"Idempotency-Key": "back-soon"}
        )
    await until(lambda: twin.edge.status()["submissions"] == 0)
    assert await twin.history(seen[2].task_id) == ["accepted"]


async def test_a_drain_lets_no_stream_end_as_if_it_were_whole(seen: list[Accepted], twin: TwinEdge) -> None:
    async with client_of(twin) as client:
        wait: list[ChatCompletionMessageParam] = [{"role": "user", "content": "wait"}]
        stream = await client.chat.completions.create(model="echo", messages=wait, stream=True)
        reading = asyncio.create_task(_drained(stream))
        await until(lambda: twin.edge.status()["submissions"] == 1)
        twin.edge._inside._waiting.close()
        with pytest.raises(openai.APIError) as told:
            await reading
    assert told.value.code == "unavailable"
    assert await twin.history(seen[0].task_id) == ["accepted"]


async def _drained(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_only_this_doors_routes_speak_openais_words(twin: TwinEdge) -> None:
    status, kind, body = await call(twin, "/v1/chat/completions", method="GET")
    assert (status, kind, body["error"]["code"]) == (405, "application/json", "method_not_allowed")
    status, kind, body = await call(twin, "/v1/tasks", json={})
    assert (status, kind, body["code"]) == (400, "application/problem+json", "invalid_request")
    status, kind, body = await call(twin, "/v1/embeddings", data=b"{", headers={"Content-Type": "application/json"})
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    status, kind, body = await call(twin, "/v1/embeddings", data=b"{", headers={"Content-Type": "text/yaml"})
    assert (status, body["error"]["code"]) == (415, "unsupported_media_type")


async def call(twin: TwinEdge, path: str, *, method: str = "POST", **kwargs: Any) -> tuple[int, str, Any]:
    headers = {"Authorization": f"Bearer {twin.key}"} | kwargs.pop("headers", {})
    async with aiohttp.ClientSession() as http, http.request(method, twin.url + path, headers=headers, **kwargs) as got:
        return got.status, got.content_type, await got.json(content_type=None)


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110 - another task's progress
            await asyncio.sleep(0.005)
