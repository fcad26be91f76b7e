"""Chat and text completions as they are written: the same reply, in two shapes. Pure."""

from typing import Any, NamedTuple, Protocol

from edge.openai.chat import Reply


class Head(NamedTuple):
    """What every piece of an answer says of itself. `created` is the task's acceptance, so that a replay is alike."""

    id: str
    created: int
    model: str


class Dialect(Protocol):
    """How a reply is written, whole and in chunks."""

    prefix: str
    """What stands before the task id in `id`."""

    def whole(self, head: Head, reply: Reply) -> dict[str, object]:
        """The answer in one piece."""
        ...

    def opening(self, head: Head) -> list[dict[str, object]]:
        """The chunks before any text."""
        ...

    def text(self, head: Head, text: str) -> dict[str, object]:
        """A chunk with more text."""
        ...

    def closing(self, head: Head, reply: Reply) -> list[dict[str, object]]:
        """The chunks after all text: calls of tools, and why it ends."""
        ...

    def usage(self, head: Head, reply: Reply) -> dict[str, object]:
        """The chunk after the last that `stream_options.include_usage` asks for; it has no choice in it."""
        ...


class ChatDialect:
    """`chat.completion` and `chat.completion.chunk`."""

    prefix = "chatcmpl-"

    def whole(self, head: Head, reply: Reply) -> dict[str, object]:
        """See `Dialect`."""
        choice = {"index": 0, "message": reply.message, "logprobs": None, "finish_reason": reply.finish_reason}
        return _object("chat.completion", head, [choice]) | {"usage": reply.usage}

    def opening(self, head: Head) -> list[dict[str, object]]:
        """See `Dialect`."""
        return [self._chunk(head, {"role": "assistant", "content": "", "refusal": None})]

    def text(self, head: Head, text: str) -> dict[str, object]:
        """See `Dialect`."""
        return self._chunk(head, {"content": text})

    def closing(self, head: Head, reply: Reply) -> list[dict[str, object]]:
        """See `Dialect`."""
        last = self._chunk(head, {}, reply.finish_reason)
        calls = [{"index": index, **call} for index, call in enumerate(reply.message.get("tool_calls", []))]
        return [self._chunk(head, {"tool_calls": calls}), last] if calls else [last]

    def usage(self, head: Head, reply: Reply) -> dict[str, object]:
        """See `Dialect`."""
        return _object("chat.completion.chunk", head, []) | {"usage": reply.usage}

    def _chunk(self, head: Head, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _object("chat.completion.chunk", head, [choice])


class CompletionDialect:
    """`text_completion`, whole and in chunks alike."""

    prefix = "cmpl-"

    def whole(self, head: Head, reply: Reply) -> dict[str, object]:
        """See `Dialect`."""
        return self._piece(head, reply.text, reply.finish_reason) | {"usage": reply.usage}

    def opening(self, head: Head) -> list[dict[str, object]]:
        """See `Dialect`."""
        return []

    def text(self, head: Head, text: str) -> dict[str, object]:
        """See `Dialect`."""
        return self._piece(head, text)

    def closing(self, head: Head, reply: Reply) -> list[dict[str, object]]:
        """See `Dialect`."""
        return [self._piece(head, "", reply.finish_reason)]

    def usage(self, head: Head, reply: Reply) -> dict[str, object]:
        """See `Dialect`."""
        return _object("text_completion", head, []) | {"usage": reply.usage}

    def _piece(self, head: Head, text: str, finish_reason: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
        return _object("text_completion", head, [choice])


def _object(kind: str, head: Head, choices: list[dict[str, Any]]) -> dict[str, object]:
    return {"id": head.id, "object": kind, "created": head.created, "model": head.model, "choices": choices}
