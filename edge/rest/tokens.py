"""The token endpoints: they read, and ask the auth actor, which alone decides, and tells what it refused."""

from hashlib import sha256
from typing import Annotated, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, StringConstraints

from bus.port import Bus, Question
from bus.questions import AUTH_REFRESH, AUTH_REVOKE, AUTH_TOKEN
from edge.http.answer import Answer
from edge.http.body import read_body
from edge.http.gate import Gate
from edge.identity.credentials import bearer_of
from edge.identity.public_keys import PublicKeys
from edge.rest.newcomers import Newcomers
from edge.settings import EdgeSettings
from edge.tasks.bulkhead import Bulkhead
from edge.tasks.request import read_form
from schemas import identity
from schemas.errors import BusDisconnected, Unauthenticated
from schemas.identity import TokenIssue, TokenRefresh, TokenRevoke
from schemas.ids import TenantId
from schemas.message import Message, encode
from schemas.scopes import Scope
from schemas.tokens import parse_refresh

MAX_BODY_BYTES: Final = 16_384
MAX_DEPTH: Final = 4
MAX_ASKING: Final = 64
"""Questions to the auth actor at once: what is open to everybody may not fill the bus."""
KEY_SET_S: Final = 30
"""How long others may keep the JWK Set: less than a new key is published ahead (`AION_AUTH__LEAD_S`)."""

Rep = TypeVar("Rep", bound=Message)
Req = TypeVar("Req", bound=Message)
Form = TypeVar("Form", bound=BaseModel)
Text = Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IssueForm(_Form):
    """With an API key in `Authorization`, or with an id token here."""

    id_token: Text | None = None
    subject: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,120}$")] | None = None
    scopes: list[Scope] | None = None


class RefreshForm(_Form):
    """A refresh token, which is good once."""

    refresh_token: Text


STRANGERS: Final = TenantId("")
"""Whoever asks for tokens: no tenant yet."""


class Tokens:
    """Answers for tokens: one instance serves all requests of an edge."""

    def __init__(self, bus: Bus, settings: EdgeSettings, public_keys: PublicKeys, gate: Gate | None) -> None:
        self._bus = bus
        self._settings = settings
        self._public_keys = public_keys
        self._newcomers = Newcomers(gate, settings.max_cached_keys)
        self._asking = Bulkhead("questions about tokens", MAX_ASKING, share=1.0)

    async def issue(self, request: web.BaseRequest) -> Answer:
        """Tokens for a credential, as RFC 6749 section 5.1 says them."""
        form = await self._read(request, IssueForm)
        asked = TokenIssue(
            api_key=bearer_of(request.headers.get("Authorization", "")),
            id_token=form.id_token,
            subject=form.subject,
            scopes=tuple(form.scopes) if form.scopes is not None else None,
        )
        credential = sha256((asked.api_key or asked.id_token or "").encode()).hexdigest()
        return await self._trade(request, AUTH_TOKEN, asked, credential, by_key=asked.api_key is not None)

    async def refresh(self, request: web.BaseRequest) -> Answer:
        """The next pair for a refresh token, which is good once."""
        form = await self._read(request, RefreshForm)
        asked = TokenRefresh(refresh_token=form.refresh_token)
        return await self._trade(request, AUTH_REFRESH, asked, _family(form.refresh_token), by_key=False)

    async def revoke(self, request: web.BaseRequest) -> Answer:
        """`{}` whatever was sent: nothing of the refresh token's family is good any more (RFC 7009 section 2.2)."""
        form = await self._read(request, RefreshForm)
        return Answer(encode(await self._ask(AUTH_REVOKE, TokenRevoke(refresh_token=form.refresh_token))))

    async def key_set(self, _request: web.BaseRequest) -> web.Response:
        """The public keys of access tokens (RFC 7517), for whoever wants to check one himself."""
        kept = {"Cache-Control": f"public, max-age={KEY_SET_S}"}
        return web.Response(body=self._public_keys.document(), content_type="application/jwk-set+json", headers=kept)

    async def _read(self, request: web.BaseRequest, form: type[Form]) -> Form:
        body = await read_body(request, MAX_BODY_BYTES, self._settings.body_timeout_s)
        return read_form(body, MAX_DEPTH, form, "the body does not fit: see errors")

    async def _trade(
        self,
        request: web.BaseRequest,
        question: Question[Req, identity.Tokens],
        asked: Req,
        credential: str | None,
        *,
        by_key: bool,
    ) -> Answer:
        self._newcomers.check(request, credential)
        tokens = await self._ask(question, asked)
        await self._newcomers.count(request, credential, tokens.access_token, by_key=by_key)
        return Answer(encode(tokens))

    async def _ask(self, question: Question[Req, Rep], asked: Req) -> Rep:
        with self._asking.place(STRANGERS):
            if not self._bus.connected:
                raise BusDisconnected("the bus is away: try again", retry_after_s=2)
            return await self._bus.rpc.ask(question, asked, timeout_s=self._settings.auth_timeout_s)


def _family(refresh_token: str) -> str | None:
    """What all tokens of a sign-in have in common; it proves nothing."""
    try:
        return parse_refresh(refresh_token).family
    except Unauthenticated:
        return None
