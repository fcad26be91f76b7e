"""Trades credentials for tokens, and ends them."""

from collections.abc import Mapping, Sequence
from typing import Final

from actors.auth.audit import Audit
from actors.auth.families import Families
from actors.auth.id_token import check_id_claims, issuer_of, prove_id_token, user_of
from actors.auth.issuer_keys import IssuerKeys
from actors.auth.settings import AuthSettings
from actors.auth.signing import Signing
from actors.runtime import Context
from actors.runtime.refusals import Bearer, Refusals
from bus.port import Call
from schemas import scopes
from schemas.errors import InsufficientScope, InvalidRequest, Unauthenticated
from schemas.identity import (
    AUDIENCE,
    AccessClaims,
    TokenIssue,
    TokenRefresh,
    TokenRevoke,
    TokenRevoked,
    Tokens,
)
from schemas.jws import read_token
from schemas.keys import Pepper, check_in_force, in_force, parse, prove, record_key
from schemas.message import Unreadable, changed, decode
from schemas.registry import ApiKeyRecord
from schemas.scopes import Scope
from schemas.tokens import RefreshToken, parse_refresh

_JTI_BYTES: Final = 9


class TokenDesk:
    """Verifies every credential itself: no edge is believed."""

    def __init__(
        self,
        context: Context,
        settings: AuthSettings,
        view: Mapping[str, bytes],
        audit: Audit,
        signing: Signing,
        families: Families,
        refusals: Refusals,
        *,
        peppers: Sequence[Pepper],
        issuers: Mapping[str, IssuerKeys],
    ) -> None:
        self._context = context
        self._settings = settings
        self._view = view
        self._audit = audit
        self._signing = signing
        self._families = families
        self._refusals = refusals
        self._peppers = peppers
        self._issuers = issuers

    async def issue(self, asked: TokenIssue, _call: Call) -> Tokens:
        """Tokens for a key, for a user that a key vouches for, or for a user who signed in at an issuer."""
        if (asked.api_key is None) == (asked.id_token is None):
            raise InvalidRequest("send an API key or an id_token, and not both")
        with self._refusals.noting("token") as bearer:
            if asked.id_token is not None:
                return await self._for_id_token(asked, asked.id_token, bearer)
            return await self._for_api_key(asked, asked.api_key or "", bearer)

    async def _for_api_key(self, asked: TokenIssue, text: str, bearer: Bearer) -> Tokens:
        key = self._good_key(text, bearer)
        if asked.subject is None:
            return await self._for_key(asked, key)
        if scopes.ISSUE_TOKENS not in scopes.reach(key.scopes):
            raise InsufficientScope(f"this API key lacks the scope {scopes.ISSUE_TOKENS}: it may not vouch for users")
        granted = _granted(asked.scopes, key.scopes)
        return await self._sign_in(key.tenant_id, f"user:local/{asked.subject}", granted, key.key_id)

    async def refresh(self, asked: TokenRefresh, _call: Call) -> Tokens:
        """The next pair. A user falls with the key that vouched for him."""
        with self._refusals.noting("refresh") as bearer:
            return await self._next_pair(parse_refresh(asked.refresh_token), bearer)

    async def _next_pair(self, token: RefreshToken, bearer: Bearer) -> Tokens:
        family, revision = await self._families.look(token, bearer)
        if family.key is not None and self._living_key(family.key) is None:
            await self._families.end_family(family.family, "its API key is no longer good")
            raise Unauthenticated("the API key that vouched for this user is no longer good: sign in again")
        claims = self._claims(family.tenant_id, family.subject, family.scopes, family=family.family, key=family.key)
        answer = self._answer(claims)
        await self._tell("token_refreshed", claims)
        following = await self._families.turn(token, family, revision)
        return changed(answer, refresh_token=following.text)

    async def revoke(self, asked: TokenRevoke, _call: Call) -> TokenRevoked:
        """End a family. Of what is no token of ours nothing is said."""
        if asked.family is not None:
            await self._families.end_family(asked.family, "asked by an operator")
        if asked.refresh_token is not None:
            try:
                token = parse_refresh(asked.refresh_token)
            except Unauthenticated:
                return TokenRevoked()
            await self._families.end(token)
        return TokenRevoked()

    async def sweep(self) -> None:
        """Forget the sign-ins of users whose API key was revoked or has expired. Raises `Unavailable`."""
        await self._families.sweep(self._is_over)

    async def _for_id_token(self, asked: TokenIssue, text: str, bearer: Bearer) -> Tokens:
        if asked.subject is not None:
            raise InvalidRequest("an id_token has its own subject: leave it out")
        source = self._issuers.get(issuer_of(read_token(text)))
        if source is None:
            raise Unauthenticated("that id token is of an issuer that is not trusted here: see AION_AUTH__ISSUERS")
        claims = prove_id_token(text, source.issuer, source.keys())
        user = user_of(text, claims, source.issuer)
        bearer.is_proven(user.tenant_id, user.subject)
        check_id_claims(claims, source.issuer, self._context.now_ms() // 1000)
        return await self._sign_in(user.tenant_id, user.subject, _granted(asked.scopes, source.issuer.scopes), None)

    async def _for_key(self, asked: TokenIssue, key: ApiKeyRecord) -> Tokens:
        """Without a refresh token: who has the key asks again."""
        granted = _granted(asked.scopes, key.scopes)
        claims = self._claims(key.tenant_id, f"key:{key.key_id}", granted, key=key.key_id)
        if key.expires_at_ms is not None:
            claims = changed(claims, exp=min(claims.exp, key.expires_at_ms // 1000))
        answer = self._answer(claims)
        await self._tell("token_issued", claims)
        return answer

    async def _sign_in(self, tenant_id: str, subject: str, granted: tuple[Scope, ...], key: str | None) -> Tokens:
        token = self._families.found()
        record = self._families.record(token, tenant_id=tenant_id, subject=subject, scopes=granted, key=key)
        claims = self._claims(tenant_id, subject, granted, family=token.family, key=key)
        with self._families.place(record):
            answer = self._answer(claims)
            await self._tell("token_issued", claims)
            await self._families.open(record)
        return changed(answer, refresh_token=token.text)

    def _good_key(self, text: str, bearer: Bearer) -> ApiKeyRecord:
        parsed = parse(text)
        record = prove(parsed, self._record(parsed.key_id), self._peppers)
        bearer.is_proven(record.tenant_id, f"key:{record.key_id}")
        return check_in_force(record, self._context.now_ms())

    def _living_key(self, key_id: str) -> ApiKeyRecord | None:
        record = self._record(key_id)
        return record if record is not None and in_force(record, self._context.now_ms()) else None

    def _is_over(self, key_id: str) -> bool:
        """A key that is not known is not over: the view may not have heard of it yet."""
        record = self._record(key_id)
        return record is not None and not in_force(record, self._context.now_ms())

    def _record(self, key_id: str) -> ApiKeyRecord | None:
        stored = self._view.get(record_key(key_id))
        try:
            return decode(stored, ApiKeyRecord) if stored is not None else None
        except Unreadable:
            return None

    def _claims(
        self,
        tenant_id: str,
        subject: str,
        granted: Sequence[Scope],
        *,
        family: str | None = None,
        key: str | None = None,
    ) -> AccessClaims:
        now_s = self._context.now_ms() // 1000
        return AccessClaims(
            iss=self._settings.issuer,
            aud=AUDIENCE,
            sub=subject,
            tenant=tenant_id,
            scope=" ".join(granted),
            iat=now_s,
            nbf=now_s,
            exp=now_s + self._settings.access_ttl_s,
            jti=self._context.rng.randbytes(_JTI_BYTES).hex(),
            family=family,
            key=key,
        )

    async def _tell(self, kind: str, claims: AccessClaims) -> None:
        about = {"family": claims.family, "key": claims.key, "scopes": claims.scope, "token": claims.jti}
        await self._audit.tell(kind, claims.tenant, claims.sub, **{name: said for name, said in about.items() if said})

    def _answer(self, claims: AccessClaims) -> Tokens:
        """What is handed out once it was told."""
        text = self._signing.sign(claims)
        return Tokens(access_token=text, expires_in=claims.exp - claims.iat, scope=claims.scope)


def _granted(asked: Sequence[Scope] | None, held: Sequence[Scope]) -> tuple[Scope, ...]:
    """The scopes of a token: those asked for, which the credential must reach, else what tasks need of its own."""
    reached = scopes.reach(held)
    if asked is None:
        return tuple(scope for scope in scopes.DEFAULT if scope in reached)
    for scope in asked:
        if scope not in reached:
            raise InsufficientScope(f"this credential lacks the scope {scope}: ask for less")
    if scopes.ADMIN in asked or scopes.ISSUE_TOKENS in asked:
        raise InvalidRequest("a token holds no scopes but those of tasks: leave out admin and tokens:issue")
    return tuple(dict.fromkeys(asked))
