"""An example of each body. Those that are requests are sent to a running edge by the tests."""

from typing import Any, Final

TASK_ID: Final = "019ab3c4-5d6e-7f80-9123-456789abcdef"
_TEXT: Final = "Cats sleep all day. Cats hunt at night. Dogs bark at cats."
_SAID: Final = "Cats sleep all day. Cats hunt at night."
_AT_MS: Final = 1_795_464_000_000
_ENGINE: Final = {"route": "local", "chosen_by": "ai-router", "reason": "only_eligible: wasm"}

TASK: Final[Any] = {"intent": "summarize", "params": {"text": _TEXT, "max_sentences": 2}, "sla": {"timeout_s": 30}}
RESULT: Final[Any] = {
    "schema_version": "1.0", "task_id": TASK_ID, "intent": "summarize", "status": "OK", "engine": _ENGINE,
    "result": {"summary": _SAID}, "usage": {"latency_ms": 3, "tokens": 0, "cost_usd": 0.0}, "error": None,
}  # fmt: skip
CANCELED: Final[Any] = RESULT | {"status": "CANCELED", "result": {}}
PENDING: Final[Any] = {"task_id": TASK_ID, "status_url": f"/v1/tasks/{TASK_ID}"}
PAGE: Final[Any] = {
    "tasks": [
        {
            "task_id": TASK_ID, "intent": "summarize", "status": "OK", "state": "ended", "accepted_at_ms": _AT_MS,
            "ended_at_ms": _AT_MS + 3, "cost_usd": 0.0,
        }
    ],
    "next": None,
}  # fmt: skip
EVENTS: Final[Any] = [{"sequence": 17, "at_ms": _AT_MS, "event": "accepted"}]
STREAM: Final = f'id: 17\nevent: accepted\ndata: {{"event":"accepted","task_id":"{TASK_ID}"}}\n\n'
INTENTS: Final[Any] = {
    "intents": [
        {
            "intent": "summarize",
            "engines": ["wasm"],
            "modules": [
                {"name": "summarize_text", "version": "1.0.0", "description": "Extractive summary.", "input_schema": {}}
            ],
        }
    ]
}
ENGINES: Final[Any] = {
    "engines": [
        {
            "engine": "wasm", "route": "local", "intents": ["embed", "keywords", "summarize"], "models": [],
            "devices": [], "instances": 1, "slots": 48, "free_slots": 48,
        }
    ]
}  # fmt: skip

CHAT: Final[Any] = {"model": "summarize", "messages": [{"role": "user", "content": _TEXT}]}
_USAGE: Final = {"prompt_tokens": 12, "completion_tokens": 0, "total_tokens": 12}
CHAT_ANSWER: Final[Any] = {
    "id": f"chatcmpl-{TASK_ID}", "object": "chat.completion", "created": _AT_MS // 1000, "model": "summarize",
    "choices": [
        {
            "index": 0, "message": {"role": "assistant", "content": _SAID, "refusal": None}, "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
}  # fmt: skip
CHAT_STREAM: Final = (
    f'data: {{"id":"chatcmpl-{TASK_ID}","object":"chat.completion.chunk","created":{_AT_MS // 1000},'
    f'"model":"summarize","choices":[{{"index":0,"delta":{{"content":"{_SAID}"}},"logprobs":null,'
    '"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)
COMPLETION: Final[Any] = {"model": "summarize", "prompt": _TEXT}
COMPLETION_ANSWER: Final[Any] = {
    "id": f"cmpl-{TASK_ID}", "object": "text_completion", "created": _AT_MS // 1000, "model": "summarize",
    "choices": [{"index": 0, "text": _SAID, "logprobs": None, "finish_reason": "stop"}], "usage": _USAGE,
}  # fmt: skip
COMPLETION_STREAM: Final = (
    f'data: {{"id":"cmpl-{TASK_ID}","object":"text_completion","created":{_AT_MS // 1000},"model":"summarize",'
    f'"choices":[{{"index":0,"text":"{_SAID}","logprobs":null,"finish_reason":null}}]}}\n\ndata: [DONE]\n\n'
)
EMBEDDINGS: Final[Any] = {"model": "embed", "input": ["a cat", "two cats"], "dimensions": 64}
EMBEDDINGS_ANSWER: Final[Any] = {
    "object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}], "model": "embed",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}  # fmt: skip
MODEL: Final[Any] = {"id": "summarize", "object": "model", "created": 0, "owned_by": "summarize_text"}
MODELS: Final[Any] = {"object": "list", "data": [MODEL]}

READY: Final[Any] = {"status": "ready", "checks": {"bus": True, "views": True, "not_draining": True}}
NOT_READY: Final[Any] = {"status": "not ready", "checks": {"bus": False, "views": True, "not_draining": True}}

PROBLEM: Final[Any] = {
    "type": "urn:aion:error:invalid_request", "title": "Invalid request", "status": 400,
    "detail": "the body is not a task: see errors", "instance": "r-1", "code": "invalid_request", "retryable": False,
    "errors": [{"pointer": "/intent", "detail": "Field required"}],
}  # fmt: skip
OPENAI_ERROR: Final[Any] = {
    "error": {
        "message": "the model 'gpt-0' does not exist: GET /v1/models lists them", "type": "invalid_request_error",
        "param": None, "code": "model_not_found",
    }
}  # fmt: skip

ISSUE = {"subject": "ada", "scopes": ["tasks:submit", "tasks:read"]}
REFRESH = {"refresh_token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln"}
TOKENS = {
    "access_token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln",
    "expires_in": 600,
    "scope": "tasks:submit tasks:read",
    "token_type": "Bearer",
    "refresh_token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln",
}
KEY_SET = {
    "keys": [
        {"kty": "OKP", "kid": "7Xw2", "alg": "EdDSA", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg", "use": "sig"}
    ]
}
