"""The auth actor: `aion.rpc.auth.*`, and the only hand that writes `KEYS` and `SESSIONS`. Any number may run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, Final

from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from pydantic import BaseModel

from actors.auth.api_keys import ApiKeys
from actors.auth.audit import Audit
from actors.auth.families import Families
from actors.auth.issuer_keys import IssuerKeys
from actors.auth.key_files import KeyFiles
from actors.auth.rotation import Rhythm
from actors.auth.settings import AuthSettings
from actors.auth.signing import Signing
from actors.auth.tally import Tally
from actors.auth.tokens import TokenDesk
from actors.runtime import Actor, Context
from actors.runtime.refusals import Refusals
from bus import questions
from bus.port import Answer
from bus.subjects import KEYS
from schemas.errors import AionError
from schemas.keys import Pepper, read_peppers

_CONNECTIONS: Final = 8


class Auth(Actor):
    """Issues, rotates and revokes. Edges never wait for it: what they must know stands in `KEYS`."""

    name: ClassVar[str] = "auth"
    description: ClassVar[str] = "issues, rotates and revokes API keys and tokens"
    settings_type: ClassVar[type[BaseModel]] = AuthSettings
    settings: AuthSettings

    def __init__(self, context: Context, settings: AuthSettings) -> None:
        super().__init__(context, settings)
        pepper = settings.key_pepper
        self._peppers: tuple[Pepper, ...] = read_peppers(pepper.get_secret_value()) if pepper is not None else ()
        self._audit = Audit(context)
        self._refusals = Refusals(context, "auth")
        self._api_keys = ApiKeys(context, self._audit, self._peppers[0] if self._peppers else None)
        self._tally = Tally(context)
        self._families = Families(context, self._audit, settings, self._tally)
        self._issuers: dict[str, IssuerKeys] = {}
        self._signing: Signing | None = None
        self._tokens: TokenDesk | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The view of `KEYS`, the signing keys, and a way to the issuers if there are any."""
        if not self._peppers:
            self.context.log.warning("auth.no_pepper", fix="set AION_AUTH__KEY_PEPPER and AION_EDGE__KEY_PEPPER")
        async with AsyncExitStack() as stack:
            view = await stack.enter_async_context(self.context.bus.kv.view(KEYS))
            await self._open(view)
            if self.settings.issuers:
                session = await stack.enter_async_context(_session())
                self._trust(session)
            yield

    def answers(self) -> Sequence[Answer[Any, Any]]:
        """Every question of `aion.rpc.auth`."""
        keys, tokens, signing = self._api_keys, self._tokens, self._signing
        if tokens is None or signing is None:
            return ()
        return (
            Answer(questions.AUTH_KEY_CREATE, keys.create),
            Answer(questions.AUTH_KEY_ROTATE, keys.rotate),
            Answer(questions.AUTH_KEY_REVOKE, keys.revoke),
            Answer(questions.AUTH_TOKEN, tokens.issue),
            Answer(questions.AUTH_REFRESH, tokens.refresh),
            Answer(questions.AUTH_REVOKE, tokens.revoke),
            Answer(questions.AUTH_SIGNING_ROTATE, signing.rotate),
        )

    async def run(self) -> None:
        """Tend the signing keys, fetch the issuers', count sign-ins and tell of refusals until drained."""
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(keys.watch()) for keys in self._issuers.values()]
            working.append(group.create_task(self._refusals.watch()))
            working.append(group.create_task(self._tally.watch()))
            working.append(group.create_task(self._every_tick(self._sweep, "auth.sessions_not_swept")))
            working.append(group.create_task(self._every_tick(self._tend, "auth.signing_keys_not_tended")))
            await self.context.draining.wait()
            for task in working:
                task.cancel()

    def status(self) -> Mapping[str, object]:
        """Which keys sign, which issuers are trusted, who is signed in, and how many credentials were refused."""
        kids = self._signing.kids if self._signing is not None else []
        issuers = sorted(keys.issuer.name for keys in self._issuers.values())
        sessions = self._tally.total if self._tally.complete else None
        return {
            "signing_keys": kids,
            "issuers": issuers,
            "sessions": sessions,
            "sessions_turned_away": self._families.turned_away,
            "refused_credentials": self._refusals.total,
        }

    async def _open(self, view: Mapping[str, bytes]) -> None:
        settings = self.settings
        rhythm = Rhythm(settings.access_ttl_s * 1000, settings.rotate_every_s * 1000, round(settings.lead_s * 1000))
        passphrase = settings.passphrase
        files = KeyFiles(settings.folder, passphrase.get_secret_value() if passphrase is not None else None)
        signing = Signing(self.context, self._audit, view, files, rhythm, settings.issuer)
        await signing.tend()
        self._signing = signing
        self._tokens = TokenDesk(
            self.context,
            settings,
            view,
            self._audit,
            signing,
            self._families,
            self._refusals,
            peppers=self._peppers,
            issuers=self._issuers,
        )

    def _trust(self, session: ClientSession) -> None:
        for issuer in self.settings.issuers:
            keys = IssuerKeys(issuer, session, self.settings, self._now_s, self.context.log)
            self._issuers[issuer.issuer] = keys

    def _now_s(self) -> float:
        return self.context.now_ms() / 1000

    async def _every_tick(self, work: Callable[[], Awaitable[None]], failed: str) -> None:
        """Do it until cancelled; what fails is tried again at the next tick."""
        while True:
            await asyncio.sleep(self.settings.tick_s)
            try:
                await work()
            except AionError as error:
                self.context.log.warning(failed, code=error.code, why=error.message)

    async def _sweep(self) -> None:
        if self._tokens is not None:
            await self._tokens.sweep()

    async def _tend(self) -> None:
        if self._signing is not None:
            await self._signing.tend()


def _session() -> ClientSession:
    """No proxies, cookies or credentials of this machine's."""
    connector = TCPConnector(limit=_CONNECTIONS)
    return ClientSession(connector=connector, cookie_jar=DummyCookieJar(), trust_env=False, auto_decompress=False)
