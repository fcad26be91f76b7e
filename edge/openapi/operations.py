"""Every operation of the HTTP API: what it takes, what it answers, and an example of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge.openai import forms
from edge.openapi import examples, shapes
from edge.rest.listing import DEFAULT_LIMIT, MAX_LIMIT
from edge.rest.tokens import IssueForm, RefreshForm
from schemas.identity import Tokens
from schemas.ids import NAME_PATTERN, TOKEN_PATTERN
from schemas.result import TaskResult
from schemas.task import TaskRequest

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
STREAM: Final = "text/event-stream"
KEY_SET_MEDIA: Final = "application/jwk-set+json"

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Content:
    """A body: its schema (a class, several of which one holds, or JSON Schema) and an example."""

    kind: Any
    example: Any = None
    media: str = JSON


@dataclass(frozen=True, slots=True)
class Reply:
    """One response. `headers` maps names to what they say."""

    says: str
    contents: tuple[Content, ...] = ()
    headers: Headers = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `id` is what generated clients call it: it never changes."""

    id: str
    method: str
    path: str
    tag: str
    summary: str
    replies: Mapping[int, Reply]
    parameters: tuple[dict[str, Any], ...] = ()
    body: Content | None = None
    refusals: tuple[int, ...] = ()
    open: bool = False
    """Whether it wants no credential."""


def _parameter(name: str, where: str, says: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    required = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "description": says, "schema": schema, "example": example} | required


_TASK_ID = _parameter(
    "task_id", "path", "The task's id.", {"type": "string", "pattern": TOKEN_PATTERN}, examples.TASK_ID
)
_KEY = _parameter(
    "Idempotency-Key",
    "header",
    "The same key and body meet the same task; another body under it is a 422.",
    {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
    "order-7",
)
_PREFER = _parameter("Prefer", "header", "`wait=N` seconds at most, or `respond-async`.", {"type": "string"}, "wait=10")
_EVENT_ID = {"type": "string", "pattern": r"^([0-9]{1,18}(\.[0-9]{1,18})?)?$"}
_TIME = {
    "type": "string",
    "anyOf": [
        {"pattern": "^[0-9]{1,15}$"},
        {"pattern": r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"},
    ],
}
_EVENTS = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
}
_FILTERS = (
    _parameter(
        "status",
        "query",
        "`RUNNING`: not ended yet.",
        {"type": "string", "enum": ["RUNNING", "OK", "ERROR", "TIMEOUT", "CANCELED"]},
        "OK",
    ),
    _parameter("intent", "query", "Of this intent.", {"type": "string", "pattern": NAME_PATTERN}, "summarize"),
    _parameter("since", "query", "Accepted at or after: Unix milliseconds or RFC 3339.", _TIME, "2026-11-23T20:00:00Z"),
    _parameter("until", "query", "Accepted before.", _TIME, "1795500000000"),
    _parameter(
        "limit",
        "query",
        "Tasks of a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        20,
    ),
    _parameter(
        "cursor",
        "query",
        "The `next` of the page before.",
        {"type": "string", "pattern": "^[A-Za-z0-9_=-]{1,200}$"},
        "MTc5NTQ2NDAwMDAwMDowMTlhYjNjNA==",
    ),
)

_REPLAYED: Final = {"Idempotency-Replayed": "`true` when the request met a task that was there already."}
_SOCKET: Final = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": "`aion.v1` when it was offered."}
_OF_TASK: Final = _REPLAYED | {"X-Aion-Task-Id": "The task behind the answer."}

_READ: Final = (401, 403, 429, 503)
_ASKED: Final = (400, *_READ)
_ONE_TASK: Final = (400, *_READ, 404)
_SUBMITTED: Final = (400, *_READ, 404, 409, 413, 415, 422)
_TRADED: Final = (400, 401, 403, 413, 415, 429, 503)
_OPENAI: Final = (*_SUBMITTED, 500, 504)

REFUSALS: Final[Mapping[int, str]] = {
    400: "What was sent cannot be taken as it is.",
    401: "No credential, or one that is not good.",
    403: "The credential does not reach this far.",
    404: "There is no such thing for this tenant.",
    409: "What is stored contradicts the request.",
    413: "The body is too large.",
    415: "The body is not plain JSON.",
    422: "The Idempotency-Key names another request.",
    426: "This is asked by upgrade to WebSocket version 13.",
    429: "A bound is reached.",
    500: "The task failed, or a fault of the server.",
    503: "AION cannot take this now; `Retry-After` says when to come back.",
    504: "The task did not end within its time.",
}


def _json(kind: Any, example: Any, says: str, headers: Headers | None = None) -> Reply:
    return Reply(says, (Content(kind, example),), headers or {})


OPERATIONS: Final = (
    Operation(
        "submitTask", "post", "/v1/tasks", "tasks", "Hand in a task, and wait for its result",
        {
            200: _json(TaskResult, examples.RESULT, "It ended in time.", _REPLAYED | {"Location": "Where it is."}),
            202: _json(shapes.Pending, examples.PENDING, "It is stored.", _REPLAYED | {"Location": "Where it is."}),
        },
        (_KEY, _PREFER), Content(TaskRequest, examples.TASK), _SUBMITTED,
    ),
    Operation(
        "listTasks", "get", "/v1/tasks", "tasks", "The tenant's tasks, newest first, as the ledger knows them",
        {200: _json(shapes.TaskPage, examples.PAGE, "A page.")}, _FILTERS, None, _ASKED,
    ),
    Operation(
        "getTask", "get", "/v1/tasks/{task_id}", "tasks", "The result, or how far the task is",
        {200: _json((TaskResult, shapes.Running), examples.RESULT, "The result, or RUNNING.")},
        (_TASK_ID,), None, _ONE_TASK,
    ),
    Operation(
        "listTaskEvents", "get", "/v1/tasks/{task_id}/events", "tasks", "The events that are still in the log",
        {200: _json(list[shapes.TaskEventShown], examples.EVENTS, "In order.")}, (_TASK_ID,), None, _ONE_TASK,
    ),
    Operation(
        "cancelTask", "post", "/v1/tasks/{task_id}/cancel", "tasks", "End the task as CANCELED",
        {200: _json(TaskResult, examples.CANCELED, "It is cancelled.")}, (_TASK_ID,), None, (*_ONE_TASK, 409),
    ),
    Operation(
        "streamTask", "get", "/v1/stream/{task_id}", "tasks", "The task's events as server-sent events, resumable",
        {
            200: Reply("Events; the last is `done`.", (Content(_EVENTS, examples.STREAM, STREAM),)),
            101: Reply("Asked by upgrade: the same as a WebSocket, docs/websocket.md.", headers=_SOCKET),
            204: Reply("Everything was seen already."),
        },
        (
            _TASK_ID,
            _parameter("Last-Event-ID", "header", "The last `id:` that was seen.", _EVENT_ID, "17"),
            _parameter("after", "query", "As `Last-Event-ID`, which comes first.", _EVENT_ID, "17"),
        ),
        None, (*_ONE_TASK, 426),
    ),
    Operation(
        "openSocket", "get", "/v1/ws", "tasks", "Many tasks on one WebSocket: docs/websocket.md",
        {101: Reply("The socket is open; without a credential, its first frame is hello.", headers=_SOCKET)},
        refusals=(*_ASKED, 426),
    ),
    Operation(
        "listIntents", "get", "/v1/intents", "what is there", "What is answered now",
        {200: _json(shapes.Intents, examples.INTENTS, "By name.")}, refusals=_READ,
    ),
    Operation(
        "listEngines", "get", "/v1/engines", "what is there", "Who runs tasks now",
        {200: _json(shapes.Engines, examples.ENGINES, "By name.")}, refusals=_READ,
    ),
    Operation(
        "createChatCompletion", "post", "/v1/chat/completions", "openai", "Chat, as OpenAI's clients ask for it",
        {
            200: Reply(
                "The answer, whole or streamed.",
                (
                    Content(shapes.ChatCompletion, examples.CHAT_ANSWER),
                    Content(_EVENTS, examples.CHAT_STREAM, STREAM),
                ),
                _OF_TASK,
            )
        },
        (_KEY,), Content(forms.ChatForm, examples.CHAT), _OPENAI,
    ),
    Operation(
        "createCompletion", "post", "/v1/completions", "openai", "A completion, as OpenAI's clients ask for it",
        {
            200: Reply(
                "The answer, whole or streamed.",
                (
                    Content(shapes.TextCompletion, examples.COMPLETION_ANSWER),
                    Content(_EVENTS, examples.COMPLETION_STREAM, STREAM),
                ),
                _OF_TASK,
            )
        },
        (_KEY,), Content(forms.CompletionForm, examples.COMPLETION), _OPENAI,
    ),
    Operation(
        "createEmbeddings", "post", "/v1/embeddings", "openai", "Vectors, as OpenAI's clients ask for them",
        {200: _json(shapes.EmbeddingList, examples.EMBEDDINGS_ANSWER, "One for each text.", _OF_TASK)},
        (_KEY,), Content(forms.EmbeddingsForm, examples.EMBEDDINGS), _OPENAI,
    ),
    Operation(
        "listModels", "get", "/v1/models", "openai", "The models that may be asked for",
        {200: _json(shapes.ModelList, examples.MODELS, "By name.")}, refusals=_READ,
    ),
    Operation(
        "getModel", "get", "/v1/models/{model}", "openai", "One model",
        {200: _json(shapes.Model, examples.MODEL, "The model.")},
        (_parameter("model", "path", "Its id; a slash as `%2F`.", {"type": "string", "minLength": 1}, "summarize"),),
        None, (*_READ, 404),
    ),
    Operation(
        "issueTokens", "post", "/v1/auth/token", "identity", "Trade an API key or an issuer's id token for tokens",
        {200: _json(Tokens, examples.TOKENS, "As RFC 6749 section 5.1 says them.")},
        (), Content(IssueForm, examples.ISSUE), _TRADED, open=True,
    ),
    Operation(
        "refreshTokens", "post", "/v1/auth/refresh", "identity", "The next pair for a refresh token",
        {200: _json(Tokens, examples.TOKENS, "The one that was sent is good no more.")},
        (), Content(RefreshForm, examples.REFRESH), _TRADED, open=True,
    ),
    Operation(
        "revokeTokens", "post", "/v1/auth/revoke", "identity", "End all that came of a refresh token",
        {200: _json({"type": "object"}, {}, "Nothing of it is good any more, whatever was sent.")},
        (), Content(RefreshForm, examples.REFRESH), _TRADED, open=True,
    ),
    Operation(
        "getKeySet", "get", "/.well-known/jwks.json", "identity", "The public keys of access tokens (RFC 7517)",
        {200: Reply("All that may have signed.", (Content(shapes.KeySet, examples.KEY_SET, KEY_SET_MEDIA),))},
        open=True,
    ),
    Operation(
        "isAlive", "get", "/healthz", "probes", "Whether the loop runs",
        {200: _json(shapes.Alive, {"status": "ok"}, "It does.")}, open=True,
    ),
    Operation(
        "isReady", "get", "/readyz", "probes", "Whether requests should come here",
        {
            200: _json(shapes.Readiness, examples.READY, "They should."),
            503: _json(shapes.Readiness, examples.NOT_READY, "Not now.", {"Retry-After": "Seconds."}),
        },
        open=True,
    ),
    Operation(
        "getOpenApi", "get", "/openapi.json", "about", "This document",
        {200: _json({"type": "object"}, {"openapi": "3.1.0"}, "OpenAPI 3.1.")}, open=True,
    ),
    Operation(
        "getDocs", "get", "/docs", "about", "This document as a page",
        {200: Reply("It needs nothing else.", (Content({"type": "string"}, "<!doctype html>", "text/html"),))},
        open=True,
    ),
)  # fmt: skip
