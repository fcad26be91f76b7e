"""Bodies as OpenAI's clients send them (API reference of November 2026), and what AION adds: `sla` and `priority`.

What is not named here is refused by name. Of what is named, hints (`temperature`, `seed`, limits of tokens ...) are
passed to models that take them and ignored by the rest, as OpenAI does; what would change the meaning of an answer
is refused for a model that does not take it (`edge.openai.chat`).
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from schemas.task import Form, Priority, Sla


def _off(value: bool) -> bool:
    if value:
        raise ValueError("it is not supported: leave it out")
    return value


Model: TypeAlias = Annotated[str, Field(min_length=1, max_length=256, description="One of `GET /v1/models`.")]
One: TypeAlias = Annotated[int, Field(ge=1, le=1)]
Off: TypeAlias = Annotated[bool, AfterValidator(_off), WithJsonSchema({"type": "boolean", "const": False})]
"""What exists at OpenAI and may be named here as long as it is not asked for."""

Text: TypeAlias = Annotated[str, Field(min_length=1)]


class OpenAiForm(Form):
    """What all of them share."""

    model: Model
    user: str | None = None
    sla: Sla = Field(default_factory=Sla, description="AION's own: privacy, time, budget (`extra_body` in the SDK).")
    priority: Priority = Field(default=Priority.NORMAL, description="AION's own: the lane it waits in.")
    metadata: dict[str, str] | None = Field(default=None, max_length=16, description="Comes back with the events.")


class Part(BaseModel):
    """One part of a message; models that take a text read those of type `text`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """One message; what is not named here is passed on to models that take messages."""

    model_config = ConfigDict(frozen=True, extra="allow")

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None


class StreamOptions(Form):
    """How a stream is told."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(default=None, description="Ignored: nothing is padded here.")


class ResponseFormat(BaseModel):
    """What the answer must look like; `text` is what every model gives."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str


class Sampling(OpenAiForm):
    """What chat and completions share."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: One | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None


class ChatForm(Sampling):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: Off | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[Literal["text"]] | None = None
    prediction: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None


class CompletionForm(Sampling):
    """`POST /v1/completions`: one prompt."""

    prompt: Text
    best_of: One | None = None
    echo: Off | None = None


class EmbeddingsForm(OpenAiForm):
    """`POST /v1/embeddings`: texts, never the tokens of somebody's tokenizer."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    dimensions: int | None = Field(default=None, ge=1)
    encoding_format: Literal["float", "base64"] = "float"
