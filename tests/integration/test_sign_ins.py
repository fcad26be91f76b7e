"""Whose limits a request for tokens counts against, and how many sign-ins a tenant may have."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twin_edge import TwinEdge, twin_edge

from actors.auth.actor import Auth
from actors.auth.settings import AuthSettings
from actors.runtime import Context
from bus import Bus, BusSettings, open_bus
from bus.memory import MemoryBus
from bus.port import Answer, Call, Service
from bus.questions import AUTH_KEY_CREATE, AUTH_KEY_REVOKE, AUTH_REFRESH, AUTH_TOKEN
from bus.subjects import SESSIONS
from schemas.errors import TooManyRequests
from schemas.identity import AUDIENCE, AccessClaims, KeyCreate, KeyRevoke, TokenIssue, TokenRefresh, Tokens
from schemas.keys import checksum, parse
from schemas.message import changed, decode, encode, plain
from schemas.scopes import Scope
from schemas.tokens import FamilyRecord

ONCE = {"rpm": 1, "burst": 1}
VOUCHING: tuple[Scope, ...] = ("tasks:read", "tokens:issue")


@asynccontextmanager
async def auth_on(bus: Bus, now_ms: Any, folder: Path, **settings: Any) -> AsyncIterator[Auth]:
    """An auth actor that works on this connection."""
    name = f"auth-{id(bus)}"
    auth = Auth(Context(bus, name, structlog.get_logger(), now_ms), AuthSettings(folder=folder, **settings))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(auth.lifespan())
        await stack.enter_async_context(bus.rpc.serve(Service("auth", "0.0.0", name), auth.answers()))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(auth.run())
        stack.callback(auth.context.draining.set)
        yield auth


class Door:
    """An edge with limits, and clients of one shared address in front of it."""

    def __init__(self, twin: TwinEdge, http: aiohttp.ClientSession) -> None:
        self.twin = twin
        self.http = http

    async def key(self, tenant: str = "acme") -> str:
        issued = await self.twin.bus.rpc.ask(AUTH_KEY_CREATE, KeyCreate(tenant_id=tenant, scopes=VOUCHING))
        await asyncio.sleep(0.01)
        return issued.key

    async def post(
        self, what: str, key: str = "", address: str = "", **body: str
    ) -> tuple[int, Mapping[str, str], Any]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if address:
            headers["X-Forwarded-For"] = address
        url = f"{self.twin.url}/v1/auth/{what}"
        async with self.http.post(url, json=body, headers=headers) as response:
            return response.status, response.headers, await response.json(content_type=None)

    async def statuses(self, count: int, what: str, key: str = "", address: str = "", **body: str) -> list[int]:
        return [(await self.post(what, key, address, **body))[0] for _ in range(count)]

    async def reads(self, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        async with self.http.get(f"{self.twin.url}/v1/intents", headers=headers) as response:
            return response.status


@asynccontextmanager
async def door(folder: Path | None, *, tick_s: float = 10.0, **rates: Any) -> AsyncIterator[Door]:
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twin_edge(rates=rates, trusted_proxies=["127.0.0.0/8"]))
        if folder is not None:
            await stack.enter_async_context(auth_on(MemoryBus(twin.server), twin.server.now_ms, folder, tick_s=tick_s))
            await asyncio.sleep(0.01)
        yield Door(twin, await stack.enter_async_context(aiohttp.ClientSession()))


async def test_a_sign_in_counts_for_its_tenant_and_for_no_other_behind_the_same_address(tmp_path: Path) -> None:
    async with door(tmp_path / "auth", tenant={"rpm": 1, "burst": 3}, ip={"rpm": 1, "burst": 100}) as it:
        acme, other = await it.key(), await it.key("other")
        status, headers, _ = await it.post("token", acme, subject="alice")
        assert (status, headers["RateLimit"]) == (200, '"tenant";r=2;t=60')
        assert await it.statuses(3, "token", acme) == [200, 200, 429]
        assert await it.reads(acme) == 429, "one budget, whatever is asked"
        assert await it.statuses(3, "token", other, subject="bob") == [200] * 3


async def test_a_sign_in_that_its_tenant_has_no_room_for_takes_nothing_and_makes_nothing(tmp_path: Path) -> None:
    async with door(tmp_path / "auth", tenant=ONCE, ip={"rpm": 1, "burst": 4}) as it:
        acme, other = await it.key(), await it.key("other")
        assert await it.statuses(5, "token", acme, subject="alice") == [200] + [429] * 4
        async with it.twin.bus.kv.view(SESSIONS) as sessions:
            assert len(sessions) == 1
        assert await it.statuses(1, "token", other, subject="bob") == [200], "of the address one was taken, not five"


async def test_a_key_a_route_and_an_address_each_have_their_own_limit_on_tokens(tmp_path: Path) -> None:
    for rates, admitted in (
        ({"key": {"rpm": 1, "burst": 2}}, [2, 2, 2]),
        ({"routes": {"POST /v1/auth/token": {"rpm": 1, "burst": 2}}}, [2, 0, 2]),
        ({"ip": {"rpm": 1, "burst": 2}}, [2, 0, 0]),
    ):
        async with door(tmp_path / "auth", **rates) as it:
            keys = [await it.key(), await it.key(), await it.key("other")]
            assert [(await it.statuses(3, "token", key)).count(200) for key in keys] == admitted


async def test_guesses_count_for_the_address_alone(tmp_path: Path) -> None:
    async with door(tmp_path / "auth", tenant=ONCE, ip={"rpm": 1, "burst": 3}) as it:
        acme = await it.key()
        wrong = acme[:-1] + ("a" if acme[-1] != "a" else "b")
        assert await it.statuses(5, "token", wrong, "6.6.6.6") == [401] * 3 + [429] * 2
        assert await it.statuses(5, "refresh", "", "6.6.6.7", refresh_token="nonsense") == [401] * 3 + [429] * 2
        await it.twin.bus.rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id=parse(acme).key_id))
        await asyncio.sleep(0.01)
        assert await it.statuses(5, "token", acme, "6.6.6.8") == [401] * 3 + [429] * 2
        assert await it.reads(await it.key()) == 200, "of the tenant nothing was taken"


async def test_a_refresh_counts_for_its_user_and_costs_nobody_his_sign_in(tmp_path: Path) -> None:
    async with door(tmp_path / "auth", tenant={"rpm": 1, "burst": 3}) as it:
        _, _, tokens = await it.post("token", await it.key(), subject="alice")
        seen = []
        for _ in range(3):
            status, headers, answer = await it.post("refresh", refresh_token=tokens["refresh_token"])
            seen.append((status, headers["RateLimit"].split(";")[1]))
            tokens = answer if status == 200 else tokens
        assert seen == [(200, "r=1"), (200, "r=0"), (429, "r=0")]
        asked = TokenRefresh(refresh_token=tokens["refresh_token"])
        assert await it.twin.bus.rpc.ask(AUTH_REFRESH, asked), "refused before it was used up"


async def test_a_refresh_that_the_auth_actor_did_is_never_refused_afterwards(tmp_path: Path) -> None:
    """This edge sees the user for the first time, and his tenant has nothing left."""
    async with door(tmp_path / "auth", tenant=ONCE) as it:
        key = await it.key()
        signed_in = await it.twin.bus.rpc.ask(AUTH_TOKEN, TokenIssue(api_key=key, subject="alice"))
        assert [await it.reads(key) for _ in range(2)] == [200, 429]
        status, headers, tokens = await it.post("refresh", refresh_token=signed_in.refresh_token or "")
        assert (status, headers["RateLimit"].split(";")[1]) == (200, "r=0")
        assert (await it.post("refresh", refresh_token=tokens["refresh_token"]))[0] == 429


async def test_who_only_names_a_sign_in_takes_nothing_of_its_tenant(tmp_path: Path) -> None:
    """Its id stands in every access token of it, so whoever is shown one knows it."""
    async with door(tmp_path / "auth", tenant={"rpm": 1, "burst": 3}) as it:
        key = await it.key()
        _, _, tokens = await it.post("token", key, subject="alice")
        _, _, tokens = await it.post("refresh", refresh_token=tokens["refresh_token"])
        name, family, proof, turn, _ = tokens["refresh_token"].split("_")
        body = "_".join((name, family, proof[::-1], turn))
        assert await it.statuses(3, "refresh", refresh_token=f"{body}_{checksum(body)}") == [401] * 3
        assert await it.reads(key) == 200


async def test_a_sign_in_is_ended_also_when_its_tenant_has_nothing_left(tmp_path: Path) -> None:
    async with door(tmp_path / "auth", tenant=ONCE, ip={"rpm": 1, "burst": 5}) as it:
        key = await it.key()
        _, _, tokens = await it.post("token", key, subject="alice")
        assert await it.statuses(5, "revoke", refresh_token=tokens["refresh_token"]) == [200] * 4 + [429]
        async with it.twin.bus.kv.view(SESSIONS) as sessions:
            assert not sessions


def token_of(claims: AccessClaims) -> str:
    head = {"kid": "k", "typ": "at+jwt"}
    return jwt.encode(plain(claims), Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=head)


async def test_what_only_the_auth_actor_can_judge_counts_for_whom_it_turns_out_to_be() -> None:
    """An id token; and an API key of which this edge has not heard yet."""
    user = {"tenant": "acme", "sub": "user:sso/u-1", "key": None}
    by_key = {"tenant": "acme", "sub": "user:local/alice", "key": "k1"}

    async def issue(asked: TokenIssue, _call: Call) -> Tokens:
        who = user if asked.id_token is not None else by_key
        claims = AccessClaims(
            iss="aion", aud=AUDIENCE, scope="tasks:read", iat=1, nbf=1, exp=2, jti="j", family="f", **who
        )
        return Tokens(access_token=token_of(claims), expires_in=600, scope="tasks:read")

    async with (
        door(None, key={"rpm": 1, "burst": 2}, tenant={"rpm": 1, "burst": 4}) as it,
        it.twin.bus.rpc.serve(Service("auth", "0.0.0", "auth-9"), [Answer(AUTH_TOKEN, issue)]),
    ):
        assert await it.statuses(3, "token", id_token="one") == [200, 200, 429], "known by its text"
        assert await it.statuses(2, "token", id_token="another") == [200, 429], "new, and then known as well"
        assert await it.statuses(3, "token", "aion_new", subject="alice") == [200, 200, 429]
        assert await it.reads(it.twin.key) == 429, "two of either were counted for the tenant"


async def test_limits_that_no_request_for_tokens_reaches_change_nothing_without_any(tmp_path: Path) -> None:
    async with door(tmp_path / "auth") as it:
        _, headers, tokens = await it.post("token", await it.key(), subject="alice")
        assert "RateLimit" not in headers
        assert (await it.post("refresh", refresh_token=tokens["refresh_token"]))[0] == 200


async def test_a_full_tenant_is_told_so_over_http_and_the_others_sign_in(tmp_path: Path) -> None:
    async with twin_edge() as twin, aiohttp.ClientSession() as http:
        settings = {"max_sessions_per_tenant": 3, "max_sessions_per_subject": 2, "tick_s": 0.02}
        async with auth_on(MemoryBus(twin.server), twin.server.now_ms, tmp_path / "auth", **settings) as auth:
            it = Door(twin, http)
            acme, other = await it.key(), await it.key("other")
            for subject in ("alice", "alice", "alice", "bob"):
                assert (await it.post("token", acme, subject=subject))[0] == 200
            status, headers, problem = await it.post("token", acme, subject="carol")
            assert (status, problem["code"], headers["Retry-After"]) == (429, "too_many_requests", "60")
            assert "3 sign-ins" in problem["detail"]
            assert (await it.post("token", acme))[0] == 200, "a token for the key itself is no sign-in"
            assert (await it.post("token", other, subject="carol"))[0] == 200
            told = auth.status()
            assert (told["sessions"], told["sessions_turned_away"]) == (4, 1)
            await twin.bus.rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id=parse(acme).key_id))
            await until(lambda: auth.status()["sessions"] == 1)


async def test_a_sign_in_of_a_key_that_is_not_known_yet_is_left_alone(tmp_path: Path) -> None:
    """Keys and sign-ins come by two ways, so an actor may hear of a sign-in before it hears of the key behind it."""
    async with door(tmp_path / "auth", tick_s=0.01) as it:
        await it.post("token", await it.key(), subject="alice")
        async with it.twin.bus.kv.view(SESSIONS) as view:
            record = decode(next(iter(view.values())), FamilyRecord)
            early = changed(record, family="early", key="unheard-of")
            await it.twin.bus.kv.put(SESSIONS, "early", encode(early))
            await asyncio.sleep(0.1)
            assert set(view) == {record.family, "early"}


async def test_two_auth_actors_on_the_real_bus_hold_one_bound_over_what_they_find(
    nats_url: str, tmp_path: Path
) -> None:
    """Both begin where somebody had signed in four times already, when there were no bounds."""
    tenant, bounds = f"t{id(tmp_path)}", {"max_sessions_per_subject": 2, "max_sessions_per_tenant": 5}
    async with AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(open_bus(BusSettings(url=nats_url))) for _ in range(3)]
        asking = buses[2]
        async with auth_on(buses[0], asking.now_ms, tmp_path / "auth"):
            key = await asking.rpc.ask(AUTH_KEY_CREATE, KeyCreate(tenant_id=tenant, scopes=VOUCHING))
            await asyncio.sleep(0.1)  # for the actor to see its own key
            old = TokenIssue(api_key=key.key, subject="old")
            signed_in = [await asking.rpc.ask(AUTH_TOKEN, old) for _ in range(4)]
        actors = [
            await stack.enter_async_context(auth_on(bus, asking.now_ms, tmp_path / f"auth-{number}", **bounds))
            for number, bus in enumerate(buses[:2])
        ]
        await until(lambda: all(isinstance(auth.status()["sessions"], int) for auth in actors))
        assert await asking.rpc.ask(AUTH_REFRESH, TokenRefresh(refresh_token=signed_in[0].refresh_token or ""))
        answers: list[object] = []
        for number in range(12):
            asked = TokenIssue(api_key=key.key, subject=f"u{number}")
            answers += await asyncio.gather(asking.rpc.ask(AUTH_TOKEN, asked), return_exceptions=True)
            await asyncio.sleep(0.05)  # for the other one to hear of it
        assert [type(answer) for answer in answers] == [Tokens] + [TooManyRequests] * 11
        for _ in range(3):
            await asking.rpc.ask(AUTH_TOKEN, old)
            await asyncio.sleep(0.05)
        async with asking.kv.view(SESSIONS) as view:
            found = [decode(value, FamilyRecord) for value in view.values()]
        assert sorted(record.subject for record in found if record.tenant_id == tenant) == [
            "user:local/old", "user:local/old", "user:local/u0",
        ]  # fmt: skip


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not met():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
