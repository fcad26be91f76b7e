"""The process around a supervisor: settings, logs, event loop and signals."""

import asyncio
import gc
import os
import signal
from collections.abc import Mapping, Sequence

from structlog.typing import FilteringBoundLogger

from actors.runtime.logs import failure, open_logs
from actors.runtime.settings import RuntimeSettings, read_settings
from actors.runtime.supervisor import ActorType, Supervisor, load_cast
from bus import BusSettings, open_bus
from schemas.errors import AionError, Misconfigured, ServerIncompatible, Unavailable

EXIT_MISCONFIGURED = 2
EXIT_UNAVAILABLE = 75


def run_actors(types: Sequence[ActorType], environ: Mapping[str, str]) -> int:
    """Run the actors until SIGTERM or SIGINT and return the exit code; a second signal ends the process at once.

    Raises `Misconfigured` before anything was opened.
    """
    settings = read_settings(environ)
    runtime = settings.load("runtime", RuntimeSettings)
    bus = settings.load("nats", BusSettings)
    cast = load_cast(types, settings)
    log = open_logs(runtime)
    settle_memory()
    supervisor = Supervisor(cast, lambda: open_bus(bus), log, keep_s=bus.keep_s, grace_s=runtime.grace_s)
    with asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(_supervise(supervisor, log))


async def _supervise(supervisor: Supervisor, log: FilteringBoundLogger) -> int:
    watch_signals(supervisor, log)
    try:
        return await supervisor.run()
    except (Misconfigured, ServerIncompatible) as error:
        log.error("cannot_start", **failure(error))
        return EXIT_MISCONFIGURED
    except Unavailable as error:
        log.error("bus_unavailable", **failure(error))
        return EXIT_UNAVAILABLE
    except AionError as error:
        log.error("process_failed", **failure(error))
        return 1


def watch_signals(supervisor: Supervisor, log: FilteringBoundLogger) -> None:
    """Drain on the first SIGTERM or SIGINT, leave without a word on the second: redelivery makes that safe."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if asked.is_set():
            os._exit(128 + number)
        asked.set()
        log.info("draining", signal=number.name)
        supervisor.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


def settle_memory() -> None:
    """Keep what the imports left out of every later collection, and collect less often.

    A request leaves hundreds of short-lived objects, so the default threshold of 700 walks the young ones at each.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
