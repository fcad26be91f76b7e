"""The edge as an actor: what it opens, serves, and how it goes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, ClassVar

from aiohttp import web
from pydantic import BaseModel

from actors.runtime import Actor, Context
from actors.runtime.refusals import Refusals
from actors.runtime.settings import RedisSettings
from bus import subjects
from bus.waiting import timeout
from edge.http.clients import Clients
from edge.http.cors import Cors
from edge.http.front import Front
from edge.http.gate import Gate
from edge.http.heads import Heads
from edge.http.health import Health
from edge.http.routes import Routes
from edge.http.server import CLOSE_S, listen
from edge.identity.certificate_owners import CertificateOwners
from edge.identity.credentials import Credentials
from edge.identity.public_keys import PublicKeys
from edge.limits.limits import Limits
from edge.limits.opening import open_limits
from edge.limits.settings import LimitsSettings
from edge.limits.tokens import TokenAllowance
from edge.openai.door import OpenAiDoor
from edge.openai.models import Models
from edge.openapi.pages import Pages
from edge.rest.listing import Listing
from edge.rest.submission import Submission
from edge.rest.tasks import Tasks
from edge.rest.tokens import Tokens
from edge.routing import WORDINGS, Handlers, routes_to
from edge.settings import EdgeSettings
from edge.tasks.admission import Admission
from edge.tasks.catalogue import Catalogue
from edge.tasks.desk import Desk
from edge.tasks.intake import Intake
from edge.tasks.waiting import Waiting
from edge.tls.certificates import Certificates, load
from edge.ws.door import WsDoor
from edge.ws.guest import Entry
from edge.ws.session import House
from edge.ws.work import Work
from schemas.errors import Misconfigured
from schemas.keys import read_peppers

if TYPE_CHECKING:
    from edge.grpc.server import GrpcServer


class Edge(Actor):
    """HTTP in front of the log. It owns no data: any number may run, and any may die."""

    name: ClassVar[str] = "edge"
    description: ClassVar[str] = "takes tasks over HTTP, accepts them durably, waits and streams"
    settings_type: ClassVar[type[BaseModel]] = EdgeSettings
    further: ClassVar[Mapping[str, type[BaseModel]]] = {"limits": LimitsSettings, "redis": RedisSettings}

    def __init__(
        self,
        context: Context,
        settings: EdgeSettings,
        rates: LimitsSettings | None = None,
        redis: RedisSettings | None = None,
    ) -> None:
        super().__init__(context, settings)
        self._rates = rates or LimitsSettings()
        self._redis = redis or RedisSettings()
        self._rate_limits: Limits | None = None
        self._allowance: TokenAllowance | None = None
        self._limits = settings
        self._catalogue = Catalogue()
        self._waiting = Waiting(context.bus, context.log, _loop_time, settings.recheck_s)
        self._clients = Clients(settings.trusted_proxies, settings.proxy_field)
        self._heads = Heads(
            settings.head_timeout_s,
            most=settings.max_connections,
            most_of_one=settings.max_connections_per_ip,
            unbounded=self._clients.trusts,
        )
        self._admission = Admission(context, settings.max_backlog, lambda: self._waiting.heard)
        self._intake = Intake(context, settings, self._catalogue, self._waiting, self._admission)
        self._desk = Desk(context, settings)
        self._tasks = Tasks(context, settings, self._desk)
        self._public_keys = PublicKeys()
        self._refusals = Refusals(context, "edge")
        self._openai = OpenAiDoor(context, settings, self._intake, self._desk, Models(self._catalogue))
        self._loaded = False
        self._watch: asyncio.Task[None] | None = None
        self._certificates: Certificates | None = None
        self._grpc: GrpcServer | None = None
        self._ws: WsDoor | None = None
        self.routes: Mapping[str, Sequence[str]] = {}
        """Every path with its methods, once `lifespan` was entered."""
        self.port = settings.port
        """The port that is listened on, once `lifespan` was entered."""
        self.grpc_port = settings.grpc.port
        """That of gRPC, None without."""

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Views, the live subscription, then the port; left in the opposite order after waiters had their grace."""
        async with AsyncExitStack() as stack:
            keys = await self._open_views(stack)
            self._rate_limits = await stack.enter_async_context(open_limits(self._rates, self._redis, self.context.log))
            await stack.enter_async_context(self.context.bus.log.live("ended", self._hearer()))
            await self._admission.look()
            self._certificates = await load(self._limits.tls, self.context.log)
            credentials, owners = (
                self._credentials(keys),
                CertificateOwners(self._limits.tls.client_tenants, self._refusals),
            )
            runner = await self._listen(credentials, owners)
            try:
                await self._listen_grpc(credentials, owners)
            except BaseException:
                await runner.cleanup()
                raise
            watch = self._watch = asyncio.create_task(self._watch_over(), name="edge.watch")
            self._loaded = True
            try:
                yield
            finally:
                await self._finish(runner, watch)

    def _hearer(self) -> Callable[[str, int, bytes], None]:
        """Tells of each end those that wait, who counts what is open, and who counts tokens if anybody does."""
        hearers = [self._waiting.ended, self._intake.open_tasks.ended]
        if self._rate_limits is not None and self._rates.tokens is not None:
            allowance = TokenAllowance(self._rate_limits, self._catalogue, self._rates.answer_tokens)
            self._allowance = self._intake.allowance = allowance
            hearers.append(allowance.ended)

        def ended(subject: str, sequence: int, data: bytes) -> None:
            for hear in hearers:
                hear(subject, sequence, data)

        return ended

    async def run(self) -> None:
        """Ends with the drain; raises when what looks after the waiting requests and the queue broke."""
        draining = asyncio.create_task(self.context.draining.wait(), name="edge.draining")
        watch = [self._watch] if self._watch is not None else []
        try:
            await asyncio.wait([draining, *watch], return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()
        for task in watch:
            if task.done():
                task.result()

    async def _watch_over(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._waiting.watch())
            group.create_task(self._admission.watch())
            group.create_task(self._intake.open_tasks.watch())
            group.create_task(self._refusals.watch())
            if self._ws is not None:
                group.create_task(self._ws.watch())
            if self._rate_limits is not None:
                group.create_task(self._rate_limits.watch())
            if self._allowance is not None:
                group.create_task(self._allowance.watch())
            if self._certificates is not None:
                group.create_task(self._certificates.watch())

    def ready(self) -> str | None:
        """What is missing, else None."""
        missing = [name for name, holds in self._checks().items() if not holds]
        return f"waits for {', '.join(missing)}" if missing else None

    def status(self) -> Mapping[str, object]:
        """How much is open, and what was rescued or dropped."""
        doors: dict[str, object] = {"port": self.port}
        if self.grpc_port is not None:
            doors["grpc_port"] = self.grpc_port
        if self._certificates is not None:
            doors["certificate_days_left"] = self._certificates.days_left
        return doors | {
            "submissions": self._intake.bulkhead.inside,
            "open_tasks": self._intake.open_tasks.total,
            "streams": self._desk.streams.inside,
            "abandoned": self._openai.abandoned,
            "sockets": self._ws.sockets.inside if self._ws else 0,
            "dropped_streams": self._dropped_streams(),
            "slow_heads": self._heads.cut,
            "rescued_waits": self._waiting.rescued,
            "refused_credentials": self._refusals.total,
            "backlog": self._admission.backlog,
            "refused_for_backlog": self._admission.refused,
            "refused_for_time": self._admission.refused_for_time,
            "connections": self._heads.open,
            "connections_turned_away": self._heads.turned_away,
            **({"limits": self._rate_limits.status()} if self._rate_limits is not None else {}),
        }

    def _dropped_streams(self) -> int:
        over_grpc = self._grpc.dropped_streams if self._grpc else 0
        return self._tasks.dropped_streams + over_grpc + (self._ws.dropped if self._ws else 0)

    async def _open_views(self, stack: AsyncExitStack) -> Mapping[str, bytes]:
        kv, catalogue = self.context.bus.kv, self._catalogue
        modules = await stack.enter_async_context(kv.view(subjects.MODULES, catalogue.module_changed))
        engines = await stack.enter_async_context(kv.view(subjects.ENGINES, catalogue.engine_changed))
        catalogue.load(modules, engines)
        keys = await stack.enter_async_context(kv.view(subjects.KEYS, self._public_keys.changed))
        self._public_keys.load(keys)
        return keys

    async def _listen(self, credentials: Credentials, owners: CertificateOwners) -> web.ServerRunner:
        tls = self._certificates.for_http() if self._certificates is not None else None
        runner = await listen(self._front(credentials, owners).handle, self._limits, self._heads, tls)
        self.port = int(runner.addresses[0][1])
        self.context.log.info("edge.listening", host=self._limits.host, port=self.port)
        return runner

    async def _listen_grpc(self, credentials: Credentials, owners: CertificateOwners) -> None:
        """Nothing of gRPC is imported where no port is set."""
        if self._limits.grpc.port is None:
            return
        try:
            from edge.grpc.calls import Calls
            from edge.grpc.server import GrpcServer
            from edge.grpc.service import AionTasks
        except ModuleNotFoundError as error:
            fix = "pip install 'aion[grpc]', or unset AION_EDGE__GRPC__PORT"
            raise Misconfigured(f"the gRPC door needs {error.name}: {fix}") from error
        tasks = AionTasks(self.context, self._limits, self._intake, self._desk, self._catalogue)
        calls = Calls(self.context, credentials, owners, self._rate_limits, self._limits.write_timeout_s)
        server = GrpcServer(self.context, self._limits, tasks, calls, self._checks)
        self.grpc_port = await server.start(self._certificates)
        self._grpc = server

    def _credentials(self, keys: Mapping[str, bytes]) -> Credentials:
        pepper = self._limits.key_pepper
        return Credentials(
            keys,
            self._public_keys,
            self._refusals,
            self.context.now_ms,
            max_cached=self._limits.max_cached_keys,
            peppers=read_peppers(pepper.get_secret_value()) if pepper is not None else (),
        )

    def _front(self, credentials: Credentials, owners: CertificateOwners) -> Front:
        limits, settings = self._rate_limits, self._limits
        gate = Gate(limits, self._clients, fields=self._rates.fields != "off") if limits is not None else None
        entry = Entry(credentials, gate)
        work = Work(settings, self._intake, self._desk, entry)
        self._ws = WsDoor(House(self.context, settings, self._desk, entry, work))
        routes = self._routes(self._ws)
        self.routes = routes.paths
        return Front(
            self.context,
            routes,
            credentials,
            owners,
            self._clients,
            gate=gate,
            wordings=WORDINGS,
            cors=Cors(settings.cors_origins) if settings.cors_origins else None,
        )

    def _routes(self, ws: WsDoor) -> Routes:
        handlers = Handlers(
            submission=Submission(self._limits, self._intake),
            tasks=self._tasks,
            listing=Listing(self._desk, self._catalogue),
            tokens=Tokens(self.context.bus, self._limits, self._public_keys),
            openai=self._openai,
            ws=ws,
            pages=Pages(),
            health=Health(self._checks),
        )
        return routes_to(handlers)

    def _checks(self) -> Mapping[str, bool]:
        return {
            "bus": self.context.bus.connected,
            "views": self._loaded,
            "not_draining": not self.context.draining.is_set(),
        }

    async def _finish(self, runner: web.ServerRunner, watch: "asyncio.Task[None]") -> None:
        """Let requests finish waiting within the grace, answer the rest with 202, close streams, stop listening."""
        self.context.draining.set()
        if self._grpc is not None:
            self._grpc.leave(self._limits.drain_grace_s + CLOSE_S)
        with suppress(TimeoutError):
            async with timeout(self._limits.drain_grace_s):
                await self._intake.bulkhead.empty()
        self._waiting.close()
        if self._ws is not None:  # its clients are told where to go on
            with suppress(TimeoutError):
                async with timeout(CLOSE_S):
                    await self._ws.sockets.empty()
        await runner.cleanup()
        self._heads.close()
        if self._grpc is not None:
            await self._grpc.stop(CLOSE_S)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
