"""The edge as an actor: what it opens, serves, and how it goes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, ClassVar

from aiohttp import web
from pydantic import BaseModel

from actors.runtime import Actor, Context
from bus import subjects
from bus.waiting import timeout
from edge.http.cors import Cors
from edge.http.front import Front
from edge.http.heads import Heads, HeadsSite
from edge.http.health import Health
from edge.http.routes import Routes
from edge.identity.credentials import Credentials
from edge.openai.door import OpenAiDoor
from edge.openai.errors import Envelope
from edge.openai.models import Models
from edge.openapi.pages import Pages
from edge.rest.listing import Listing
from edge.rest.submission import Submission
from edge.rest.tasks import Tasks
from edge.settings import EdgeSettings
from edge.tasks.admission import Admission
from edge.tasks.catalogue import Catalogue
from edge.tasks.desk import Desk
from edge.tasks.intake import Intake
from edge.tasks.waiting import Waiting
from schemas.errors import Misconfigured

KEEPALIVE_S = 75.0
CLOSE_S = 2.0


class Edge(Actor):
    """HTTP in front of the log. It owns no data: any number may run, and any may die."""

    name: ClassVar[str] = "edge"
    description: ClassVar[str] = "takes tasks over HTTP, accepts them durably, waits and streams"
    settings_type: ClassVar[type[BaseModel]] = EdgeSettings

    def __init__(self, context: Context, settings: EdgeSettings) -> None:
        super().__init__(context, settings)
        self._limits = settings
        self._catalogue = Catalogue()
        self._waiting = Waiting(context.bus, context.log, _loop_time, settings.recheck_s)
        self._heads = Heads(settings.head_timeout_s)
        self._admission = Admission(context, settings.max_backlog)
        self._intake = Intake(context, settings, self._catalogue, self._waiting, self._admission)
        self._desk = Desk(context, settings)
        self._tasks = Tasks(context, settings, self._desk)
        self._openai = OpenAiDoor(context, settings, self._intake, self._desk, Models(self._catalogue))
        self._loaded = False
        self._watch: asyncio.Task[None] | None = None
        self.routes: Mapping[str, Sequence[str]] = {}
        """Every path with its methods, once `lifespan` was entered."""
        self.port = settings.port
        """The port that is listened on, once `lifespan` was entered."""

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Views, the live subscription, then the port; left in the opposite order after waiters had their grace."""
        async with AsyncExitStack() as stack:
            keys = await self._open_views(stack)
            await stack.enter_async_context(self.context.bus.log.live("ended", self._waiting.ended))
            await self._admission.look()
            runner = await self._listen(keys)
            watch = self._watch = asyncio.create_task(self._watch_over(), name="edge.watch")
            self._loaded = True
            try:
                yield
            finally:
                await self._finish(runner, watch)

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

    def ready(self) -> str | None:
        """What is missing, else None."""
        missing = [name for name, holds in self._checks().items() if not holds]
        return f"waits for {', '.join(missing)}" if missing else None

    def status(self) -> Mapping[str, object]:
        """How much is open, and what was rescued or dropped."""
        return {
            "port": self.port,
            "submissions": self._intake.bulkhead.inside,
            "streams": self._desk.streams.inside,
            "abandoned": self._openai.abandoned,
            "dropped_streams": self._tasks.dropped_streams,
            "slow_heads": self._heads.cut,
            "rescued_waits": self._waiting.rescued,
            "backlog": self._admission.backlog,
            "refused_for_backlog": self._admission.refused,
        }

    async def _open_views(self, stack: AsyncExitStack) -> Mapping[str, bytes]:
        kv, catalogue = self.context.bus.kv, self._catalogue
        modules = await stack.enter_async_context(kv.view(subjects.MODULES, catalogue.module_changed))
        engines = await stack.enter_async_context(kv.view(subjects.ENGINES, catalogue.engine_changed))
        catalogue.load(modules, engines)
        return await stack.enter_async_context(kv.view(subjects.KEYS))

    async def _listen(self, keys: Mapping[str, bytes]) -> web.ServerRunner:
        front = self._front(keys)
        kwargs: dict[str, Any] = {"access_log": None, "auto_decompress": False, "keepalive_timeout": KEEPALIVE_S}
        server = web.Server(front.handle, handler_cancellation=True, **kwargs)
        runner = web.ServerRunner(server, shutdown_timeout=CLOSE_S)
        await runner.setup()
        try:
            limits = self._limits
            await HeadsSite(runner, limits.host, limits.port, self._heads, reuse_port=limits.reuse_port).start()
        except BaseException as error:
            await runner.cleanup()
            if isinstance(error, OSError):
                where = f"{self._limits.host}:{self._limits.port}"
                raise Misconfigured(f"{where} cannot be opened ({error.strerror}): set AION_EDGE__PORT") from error
            raise
        self.port = int(runner.addresses[0][1])
        self.context.log.info("edge.listening", host=self._limits.host, port=self.port)
        return runner

    def _front(self, keys: Mapping[str, bytes]) -> Front:
        credentials = Credentials(keys, self.context.now_ms, self._limits.max_cached_keys)
        health, tasks, openai = Health(self._checks), self._tasks, self._openai
        listing, pages = Listing(self._desk, self._catalogue), Pages()
        routes = Routes(
            {
                "/v1/tasks": {"POST": Submission(self._limits, self._intake).post, "GET": listing.tasks},
                "/v1/tasks/{task_id}": {"GET": tasks.get},
                "/v1/tasks/{task_id}/events": {"GET": tasks.events},
                "/v1/tasks/{task_id}/cancel": {"POST": tasks.cancel},
                "/v1/stream/{task_id}": {"GET": tasks.stream},
                "/v1/intents": {"GET": listing.intents},
                "/v1/engines": {"GET": listing.engines},
                "/v1/chat/completions": {"POST": openai.chat},
                "/v1/completions": {"POST": openai.completions},
                "/v1/embeddings": {"POST": openai.embeddings},
                "/v1/models": {"GET": openai.models},
                "/v1/models/{model}": {"GET": openai.model},
                "/openapi.json": {"GET": pages.document},
                "/docs": {"GET": pages.page},
                "/healthz": {"GET": health.healthz, "HEAD": health.healthz},
                "/readyz": {"GET": health.readyz, "HEAD": health.readyz},
            }
        )
        self.routes = routes.paths
        cors = Cors(self._limits.cors_origins) if self._limits.cors_origins else None
        wordings = dict.fromkeys(("chat", "completions", "embeddings", "models"), Envelope())
        return Front(self.context, routes, credentials, self._heads, wordings, cors)

    def _checks(self) -> Mapping[str, bool]:
        return {
            "bus": self.context.bus.connected,
            "views": self._loaded,
            "not_draining": not self.context.draining.is_set(),
        }

    async def _finish(self, runner: web.ServerRunner, watch: "asyncio.Task[None]") -> None:
        """Let requests finish waiting within the grace, answer the rest with 202, close streams, stop listening."""
        self.context.draining.set()
        with suppress(TimeoutError):
            async with timeout(self._limits.drain_grace_s):
                await self._intake.bulkhead.empty()
        self._waiting.close()
        await runner.cleanup()
        self._heads.close()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
