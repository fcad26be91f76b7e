"""What answers look like where no message of `schemas` says it. Answers may grow fields; clients skip what is new."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from schemas.ids import Name
from schemas.ledger import Progress
from schemas.result import Count

TaskIdText = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
State = Literal["accepted", "routed", "started", "attempt_failed", "ended"]


class Pending(Struct):
    """The task is stored; where to ask for it."""

    task_id: TaskIdText
    status_url: str


class Running(Struct):
    """A task that has not ended, and its newest event."""

    task_id: TaskIdText
    status: Literal["RUNNING"]
    state: State


class TaskEventShown(Struct):
    """One event of a task, without params; which further fields there are depends on `event`."""

    sequence: Count
    at_ms: Count
    event: State


class TaskShown(Struct):
    """A task of a page, its result left out."""

    task_id: TaskIdText
    intent: str
    status: Progress
    state: State
    accepted_at_ms: Count
    ended_at_ms: Count | None
    cost_usd: Annotated[float, Meta(ge=0)]


class TaskPage(Struct):
    """Some tasks, newest first, and the cursor of the next page (null: this was the last)."""

    tasks: list[TaskShown]
    next: str | None


class ModuleShown(Struct):
    """A package that answers an intent."""

    name: Name
    version: str
    description: str
    input_schema: dict[str, Any]


class IntentShown(Struct):
    """An intent, and who answers it."""

    intent: Name
    engines: list[Name]
    modules: list[ModuleShown]


class Intents(Struct):
    """What is answered now."""

    intents: list[IntentShown]


class EngineShown(Struct):
    """An engine over its live instances."""

    engine: Name
    route: Literal["local", "api"]
    intents: list[Name]
    models: list[str]
    devices: list[str]
    instances: Annotated[int, Meta(ge=1)]
    slots: Count
    free_slots: Count


class Engines(Struct):
    """Who runs tasks now."""

    engines: list[EngineShown]


class Alive(Struct):
    """The loop runs."""

    status: Literal["ok"]


class Readiness(Struct):
    """Whether requests should come here, with each check."""

    status: Literal["ready", "not ready"]
    checks: dict[str, bool]


class Fault(Struct):
    """One fault of a body."""

    pointer: Annotated[str, Meta(description="JSON Pointer; empty: the whole body.")]
    detail: str


class Problem(Struct, omit_defaults=True):
    """RFC 9457."""

    type: Annotated[str, Meta(pattern=r"^urn:aion:error:[a-z_]+$")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    instance: Annotated[str, Meta(description="The request's id, as in `X-Request-Id`.")]
    code: Annotated[str, Meta(description="Stable: what a program should look at.")]
    retryable: bool
    errors: list[Fault] = []
    result: Annotated[dict[str, Any], Meta(description="Of a cancel that came too late: how the task ended.")] = {}


class OpenAiFault(Struct):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiError(Struct):
    """OpenAI's envelope."""

    error: OpenAiFault


class OpenAiUsage(Struct):
    """Tokens as the package counts them; what is billed stands in the task's result."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class OpenAiMessage(Struct, omit_defaults=True):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[dict[str, Any]] = []


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ChatChoice(Struct):
    """The one choice."""

    index: int
    message: OpenAiMessage
    logprobs: None
    finish_reason: FinishReason


class ChatCompletion(Struct):
    """`id` ends with the task's id."""

    id: str
    object: Literal["chat.completion"]
    created: Count
    model: str
    choices: list[ChatChoice]
    usage: OpenAiUsage


class TextChoice(Struct):
    """The one choice."""

    index: int
    text: str
    logprobs: None
    finish_reason: FinishReason


class TextCompletion(Struct):
    """`id` ends with the task's id."""

    id: str
    object: Literal["text_completion"]
    created: Count
    model: str
    choices: list[TextChoice]
    usage: OpenAiUsage


class Embedding(Struct):
    """The vector of one text: numbers, or the base 64 of 32-bit floats, least significant byte first."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class EmbeddingsUsage(Struct):
    """Tokens as the package counts them."""

    prompt_tokens: Count
    total_tokens: Count


class EmbeddingList(Struct):
    """One vector for each text, in their order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


class Model(Struct):
    """A model; `created` is 0, as nobody knows it."""

    id: str
    object: Literal["model"]
    created: Count
    owned_by: str


class ModelList(Struct):
    """Every model that may be asked for."""

    object: Literal["list"]
    data: list[Model]


class PublicKey(Struct):
    """A public key (RFC 7517 section 4); which further members there are depends on `kty`."""

    kty: str
    kid: str
    alg: str


class KeySet(Struct):
    """A JWK Set."""

    keys: list[PublicKey]
