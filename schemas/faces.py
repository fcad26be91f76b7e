"""How an intent looks through the OpenAI door: what of a request becomes its params, and what of its result the answer.

A package's manifest says it under `spec.openai`. An engine that advertises models answers `CHAT` or `EMBEDDINGS` in the
forms below, so that a vendor needs no manifest. Places in a result are JSON Pointers (RFC 6901).
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from schemas.message import Message

Param: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Pointer: TypeAlias = Annotated[str, Meta(pattern=r"^(/([^/~]|~[01])*)+$", max_length=256)]


class ChatFace(Message, tag_field="kind", tag="chat"):
    """An intent that answers a conversation."""

    takes: Annotated[
        Literal["last-user-message", "messages"],
        Meta(description="Whether `param` is the text of the last user message, or the whole list of messages."),
    ]
    param: Param
    options: Annotated[
        tuple[Param, ...],
        Meta(description="OpenAI's parameters that become params of the same name, `tools` among them if it has any."),
    ] = ()
    model_param: Annotated[Param | None, Meta(description="The param that is told the model's name.")] = None
    answer: Annotated[Pointer, Meta(description="A text, or a message with `content` and perhaps `tool_calls`.")]
    finish_reason: Pointer | None = None
    prompt_tokens: Annotated[Pointer | None, Meta(description="None, or nothing there: counted as 0.")] = None
    completion_tokens: Pointer | None = None


class EmbeddingsFace(Message, tag_field="kind", tag="embeddings"):
    """An intent that turns texts into vectors."""

    param: Annotated[Param, Meta(description="Takes the list of texts.")]
    dimensions: Annotated[Param | None, Meta(description="Takes the wanted length; None: it cannot be chosen.")] = None
    model_param: Param | None = None
    vectors: Annotated[Pointer, Meta(description="A list of lists of numbers, in the order of the texts.")]
    prompt_tokens: Pointer | None = None


Face: TypeAlias = ChatFace | EmbeddingsFace

CHAT: Final = "chat"
"""The intent of engines that advertise models which chat: params are OpenAI's request, `MODEL_CHAT` says the rest."""

EMBEDDINGS: Final = "embeddings"
"""The intent of engines that advertise models which embed."""

MODEL_CHAT: Final = ChatFace(
    takes="messages",
    param="messages",
    options=(
        "frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "parallel_tool_calls",
        "presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "temperature", "tool_choice",
        "tools", "top_p", "user", "verbosity",
    ),
    model_param="model",
    answer="/message",
    finish_reason="/finish_reason",
    prompt_tokens="/usage/prompt_tokens",
    completion_tokens="/usage/completion_tokens",
)  # fmt: skip

MODEL_EMBEDDINGS: Final = EmbeddingsFace(
    param="input",
    dimensions="dimensions",
    model_param="model",
    vectors="/vectors",
    prompt_tokens="/usage/prompt_tokens",
)


def read_face(value: Any) -> Face:
    """The face that a manifest declares. Raises `ValueError` naming what is wrong."""
    found: Face = msgspec.convert(value, Face)
    return found


def at(result: dict[str, Any], pointer: str | None) -> Any:
    """What `pointer` names in `result`, None where there is nothing."""
    value: Any = result if pointer else None
    for part in (pointer or "").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
