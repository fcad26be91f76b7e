"""Chat and completions: from a request to params, and from a result to an answer. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from edge.openai.errors import ParamRefused
from edge.openai.forms import ChatForm, ChatMessage, CompletionForm, Sampling
from edge.openai.models import Offer
from edge.tasks.errors import FieldError
from schemas.errors import OutputInvalid
from schemas.faces import ChatFace, at
from schemas.result import TaskResult

_CHANGING: Final = {
    "tools": None,
    "tool_choice": "none",
    "response_format": {"type": "text"},
    "stop": None,
    "logit_bias": None,
}
"""Parameters that a model may not ignore, with the value that asks for nothing."""

_REASONS: Final = ("stop", "length", "tool_calls", "content_filter", "function_call")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said: an assistant's message, why it ended there, and the tokens as the package counts them."""

    message: dict[str, Any]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int

    @property
    def text(self) -> str:
        """The message's text, empty when it only calls tools."""
        content = self.message.get("content")
        return content if isinstance(content, str) else ""

    @property
    def usage(self) -> dict[str, int]:
        """As OpenAI reports it."""
        total = self.prompt_tokens + self.completion_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": total,
        }


def chat_params(form: ChatForm, offer: Offer[ChatFace]) -> dict[str, Any]:
    """The params of the task. Raises `ParamRefused` naming what this model does not take."""
    face = offer.face
    if face.takes == "messages":
        said: Any = [message.model_dump(mode="json", exclude_unset=True) for message in form.messages]
    else:
        said = _last_user_text(form.messages, offer.model)
    return {face.param: said} | _options(form, offer)


def completion_params(form: CompletionForm, offer: Offer[ChatFace]) -> dict[str, Any]:
    """The params of the task: the prompt is what the user says."""
    face = offer.face
    said: Any = [{"role": "user", "content": form.prompt}] if face.takes == "messages" else form.prompt
    return {face.param: said} | _options(form, offer)


def reply_of(result: TaskResult, face: ChatFace) -> Reply:
    """What the task answered. Raises `OutputInvalid` when the result is not what its face promises."""
    found = at(result.result, face.answer)
    message = {"content": found} if isinstance(found, str) else found
    if not isinstance(message, dict) or not _is_message(message):
        raise OutputInvalid(f"the result of {result.intent} has no message at {face.answer}")
    calls = message.get("tool_calls") or None
    reason = at(result.result, face.finish_reason)
    return Reply(
        message={"role": "assistant", "content": message.get("content"), "refusal": message.get("refusal")}
        | ({"tool_calls": calls} if calls else {}),
        finish_reason=reason if reason in _REASONS else "tool_calls" if calls else "stop",
        prompt_tokens=count(result, face.prompt_tokens),
        completion_tokens=count(result, face.completion_tokens),
    )


def count(result: TaskResult, pointer: str | None) -> int:
    """A number of tokens, 0 where the result tells none."""
    found = at(result.result, pointer)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else 0


def _is_message(message: dict[str, Any]) -> bool:
    calls = message.get("tool_calls")
    return isinstance(message.get("content"), str | None) and isinstance(calls, list | None)


def _options(form: Sampling, offer: Offer[ChatFace]) -> dict[str, Any]:
    face, given = offer.face, form.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    for name, nothing in _CHANGING.items():
        if given.get(name) and given[name] != nothing and name not in face.options:
            detail = f"model {offer.model!r} does not take it, and leaving it out would change the answer"
            raise ParamRefused(f"{name}: {detail}", [FieldError(f"/{name}", detail)])
    options = {name: given[name] for name in face.options if name in given}
    return options | ({face.model_param: offer.model} if face.model_param else {})


def _last_user_text(messages: list[ChatMessage], model: str) -> str:
    for number in range(len(messages) - 1, -1, -1):
        if messages[number].role == "user":
            return _text(messages[number], f"/messages/{number}/content", model)
    raise ParamRefused("no user message", [FieldError("/messages", "none of them is the user's: add one")])


def _text(message: ChatMessage, pointer: str, model: str) -> str:
    parts = message.content
    if isinstance(parts, list):
        for number, part in enumerate(parts):
            if part.type != "text" or part.text is None:
                detail = f"model {model!r} reads text, not {part.type[:40]!r}"
                raise ParamRefused(detail, [FieldError(f"{pointer}/{number}", detail)])
        return "".join(part.text or "" for part in parts)
    if parts is None:
        raise ParamRefused("no content", [FieldError(pointer, "the user's message has no content")])
    return parts
