"""Every path of the edge with its methods, the scope that each needs, and who answers."""

from dataclasses import dataclass
from typing import Final

from edge.http.health import Health
from edge.http.problems import Wording
from edge.http.routes import ANY_CALLER, EVERYBODY, Route, Routes
from edge.openai.door import OpenAiDoor
from edge.openai.errors import Envelope
from edge.openapi.pages import Pages
from edge.rest.listing import Listing
from edge.rest.submission import Submission
from edge.rest.tasks import Tasks
from edge.rest.tokens import Tokens
from edge.ws.door import WsDoor
from schemas.scopes import CANCEL, READ, SUBMIT

WORDINGS: Final[dict[str, Wording]] = dict.fromkeys(("chat", "completions", "embeddings", "models"), Envelope())
"""Where refusals under `/v1/<noun>` are no problems."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """Who answers, by what they are about."""

    submission: Submission
    tasks: Tasks
    listing: Listing
    tokens: Tokens
    openai: OpenAiDoor
    ws: WsDoor
    pages: Pages
    health: Health


def routes_to(handlers: Handlers) -> Routes:
    """The whole table; a route that names no scope cannot be written."""
    tasks, listing, tokens, openai = handlers.tasks, handlers.listing, handlers.tokens, handlers.openai
    healthz, readyz = Route(EVERYBODY, handlers.health.healthz), Route(EVERYBODY, handlers.health.readyz)
    return Routes(
        {
            "/v1/tasks": {"POST": Route(SUBMIT, handlers.submission.post), "GET": Route(READ, listing.tasks)},
            "/v1/tasks/{task_id}": {"GET": Route(READ, tasks.get)},
            "/v1/tasks/{task_id}/events": {"GET": Route(READ, tasks.events)},
            "/v1/tasks/{task_id}/cancel": {"POST": Route(CANCEL, tasks.cancel)},
            "/v1/stream/{task_id}": {"GET": Route(READ, tasks.stream, upgrade=handlers.ws.one)},
            "/v1/ws": {"GET": Route(ANY_CALLER, handlers.ws.plain, upgrade=handlers.ws.many)},
            "/v1/intents": {"GET": Route(ANY_CALLER, listing.intents)},
            "/v1/engines": {"GET": Route(ANY_CALLER, listing.engines)},
            "/v1/chat/completions": {"POST": Route(SUBMIT, openai.chat)},
            "/v1/completions": {"POST": Route(SUBMIT, openai.completions)},
            "/v1/embeddings": {"POST": Route(SUBMIT, openai.embeddings)},
            "/v1/models": {"GET": Route(ANY_CALLER, openai.models)},
            "/v1/models/{model}": {"GET": Route(ANY_CALLER, openai.model)},
            "/v1/auth/token": {"POST": Route(EVERYBODY, tokens.issue)},
            "/v1/auth/refresh": {"POST": Route(EVERYBODY, tokens.refresh)},
            "/v1/auth/revoke": {"POST": Route(EVERYBODY, tokens.revoke)},
            "/.well-known/jwks.json": {"GET": Route(EVERYBODY, tokens.key_set)},
            "/openapi.json": {"GET": Route(EVERYBODY, handlers.pages.document)},
            "/docs": {"GET": Route(EVERYBODY, handlers.pages.page)},
            "/healthz": {"GET": healthz, "HEAD": healthz},
            "/readyz": {"GET": readyz, "HEAD": readyz},
        }
    )
