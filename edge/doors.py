"""The doors of one edge: who may come in, what answers on which port, and how they close."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from aiohttp import web

from actors.runtime import Context
from actors.runtime.refusals import Refusals
from bus.subjects import KEYS
from bus.waiting import timeout
from edge.http.clients import Clients
from edge.http.cors import Cors
from edge.http.front import Front
from edge.http.gate import Gate
from edge.http.health import Health
from edge.http.turnstile import Turnstile
from edge.http.wire.heads import Heads
from edge.http.wire.server import CLOSE_S, listen
from edge.identity.certificate_owners import CertificateOwners
from edge.identity.credentials import Credentials
from edge.identity.public_keys import PublicKeys
from edge.inside import Inside
from edge.limits.limits import Limits
from edge.openai.door import OpenAiDoor
from edge.openai.models import Models
from edge.openapi.pages import Pages
from edge.rest.listing import Listing
from edge.rest.submission import Submission
from edge.rest.tasks import Tasks
from edge.rest.tokens import Tokens
from edge.routing import WORDINGS, Handlers, routes_to
from edge.settings import EdgeSettings
from edge.tls.certificates import Certificates, load
from edge.ws.door import WsDoor
from edge.ws.guest import Entry
from edge.ws.session import House
from edge.ws.work import Work
from schemas.errors import Misconfigured
from schemas.keys import read_peppers

if TYPE_CHECKING:
    from edge.grpc.server import GrpcServer


class Doors:
    """HTTP with all that goes over it, and gRPC where it has a port; `watch` must run while they are open."""

    def __init__(
        self, context: Context, settings: EdgeSettings, inside: Inside, checks: Callable[[], Mapping[str, bool]]
    ) -> None:
        self._context = context
        self._settings = settings
        self._inside = inside
        self._checks = checks
        self._refusals = Refusals(context, "edge")
        self._public_keys = PublicKeys()
        self._clients = Clients(settings.trusted_proxies, settings.proxy_field)
        self._heads = Heads(
            settings.head_timeout_s,
            most=settings.max_connections,
            most_of_one=settings.max_connections_per_ip,
            unbounded=self._clients.trusts,
        )
        self._tasks = Tasks(context, settings, inside.desk)
        self._openai = OpenAiDoor(context, settings, inside.intake, inside.desk, Models(inside.catalogue))
        self._certificates: Certificates | None = None
        self._runner: web.ServerRunner | None = None
        self._ws: WsDoor | None = None
        self._grpc: GrpcServer | None = None
        self.routes: Mapping[str, Sequence[str]] = {}
        """Every path of HTTP with its methods, once `open` returned."""
        self.port = settings.port
        """What HTTP listens on, once `open` returned."""
        self.grpc_port = settings.grpc.port
        """The same of gRPC, None without."""

    async def open(self, stack: AsyncExitStack, limits: Limits | None, *, tell_limits: bool) -> None:
        """Listen; `close` ends it, and `stack` what is known of keys. With `tell_limits` answers have RateLimit fields.

        Raises `Misconfigured` for a port, a certificate or a package that is not there.
        """
        keys = await stack.enter_async_context(self._context.bus.kv.view(KEYS, self._public_keys.changed))
        self._public_keys.load(keys)
        self._certificates = await load(self._settings.tls, self._context.log)
        credentials = self._credentials(keys)
        owners = CertificateOwners(self._settings.tls.client_tenants, self._refusals)
        gate = Gate(limits, self._clients, fields=tell_limits) if limits is not None else None
        try:
            await self._open_http(credentials, owners, gate)
            await self._open_grpc(credentials, owners, limits)
        except BaseException:
            await self._close_http()
            raise

    async def watch(self) -> None:
        """Tell of refusals, look after sockets and certificates, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._refusals.watch())
            if self._ws is not None:
                group.create_task(self._ws.watch())
            if self._certificates is not None:
                group.create_task(self._certificates.watch())

    async def close(self) -> None:
        """Tell clients of streams where to go on, and stop listening."""
        if self._ws is not None:
            with suppress(TimeoutError):
                async with timeout(CLOSE_S):
                    await self._ws.sockets.empty()
        await self._close_http()
        if self._grpc is not None:
            await self._grpc.stop(CLOSE_S)

    def leave(self, within_s: float) -> None:
        """Say on connections that stay open between requests that they will end."""
        if self._grpc is not None:
            self._grpc.leave(within_s + CLOSE_S)

    def status(self) -> Mapping[str, object]:
        """Where they are, and who was turned away or dropped."""
        places: dict[str, object] = {"port": self.port}
        if self.grpc_port is not None:
            places["grpc_port"] = self.grpc_port
        if self._certificates is not None:
            places["certificate_days_left"] = self._certificates.days_left
        return places | {
            "abandoned": self._openai.abandoned,
            "sockets": self._ws.sockets.inside if self._ws is not None else 0,
            "dropped_streams": self._dropped_streams(),
            "slow_heads": self._heads.cut,
            "slow_readers": self._heads.slow_readers,
            "refused_credentials": self._refusals.total,
            "connections": self._heads.open,
            "connections_turned_away": self._heads.turned_away,
        }

    def _dropped_streams(self) -> int:
        over_grpc = self._grpc.dropped_streams if self._grpc is not None else 0
        return self._tasks.dropped_streams + over_grpc + (self._ws.dropped if self._ws is not None else 0)

    async def _open_http(self, credentials: Credentials, owners: CertificateOwners, gate: Gate | None) -> None:
        tls = self._certificates.for_http() if self._certificates is not None else None
        front = self._front(credentials, owners, gate)
        turnstile = Turnstile(self._inside.intake.turns, front.submissions(), front.name)
        self._runner = await listen(front.handle, self._settings, self._heads, turnstile, tls)
        self.port = int(self._runner.addresses[0][1])
        self._context.log.info("edge.listening", host=self._settings.host, port=self.port)

    async def _close_http(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._heads.close()

    async def _open_grpc(self, credentials: Credentials, owners: CertificateOwners, limits: Limits | None) -> None:
        """Nothing of gRPC is imported where no port is set."""
        settings, inside = self._settings, self._inside
        if settings.grpc.port is None:
            return
        try:
            from edge.grpc.calls import Calls
            from edge.grpc.peers import Peers
            from edge.grpc.server import GrpcServer
            from edge.grpc.service import AionTasks
        except ModuleNotFoundError as error:
            fix = "pip install 'aion[grpc]', or unset AION_EDGE__GRPC__PORT"
            raise Misconfigured(f"the gRPC door needs {error.name}: {fix}") from error
        tasks = AionTasks(self._context, settings, inside.intake, inside.desk, inside.catalogue)
        calls = Calls(
            self._context,
            credentials,
            owners,
            Peers(self._clients),
            limits,
            settings.write_timeout_s,
            settings.grpc.max_calls,
        )
        server = GrpcServer(self._context, settings, tasks, calls, self._checks)
        self.grpc_port = await server.start(self._certificates)
        self._grpc = server

    def _credentials(self, keys: Mapping[str, bytes]) -> Credentials:
        pepper = self._settings.key_pepper
        return Credentials(
            keys,
            self._public_keys,
            self._refusals,
            self._context.now_ms,
            max_cached=self._settings.max_cached_keys,
            peppers=read_peppers(pepper.get_secret_value()) if pepper is not None else (),
        )

    def _front(self, credentials: Credentials, owners: CertificateOwners, gate: Gate | None) -> Front:
        settings = self._settings
        routes = routes_to(self._handlers(Entry(credentials, gate, self._clients), gate))
        self.routes = routes.paths
        return Front(
            self._context,
            routes,
            credentials,
            owners,
            self._clients,
            self._inside.intake.turns,
            gate=gate,
            wordings=WORDINGS,
            cors=Cors(settings.cors_origins) if settings.cors_origins else None,
        )

    def _handlers(self, entry: Entry, gate: Gate | None) -> Handlers:
        context, settings, inside = self._context, self._settings, self._inside
        work = Work(settings, inside.intake, inside.desk, entry)
        self._ws = WsDoor(House(context, settings, inside.desk, entry, work))
        return Handlers(
            submission=Submission(settings, inside.intake),
            tasks=self._tasks,
            listing=Listing(inside.desk, inside.catalogue),
            tokens=Tokens(context.bus, settings, self._public_keys, gate),
            openai=self._openai,
            ws=self._ws,
            pages=Pages(),
            health=Health(self._checks),
        )
