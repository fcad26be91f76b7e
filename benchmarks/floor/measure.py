"""One round of a floor: a fresh server, the worker processes, and the load loops here.

There are two. `measure` is the spine alone. `measure_hops` has the system's hops: tasks come over HTTP through a
process of its own, and the executor asks a child before it answers.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import process_time
from typing import NamedTuple

from benchmarks.figures import Round, Usage, round_of
from benchmarks.floor import cursor
from benchmarks.floor.door import HOST
from benchmarks.floor.roles import cursor_of
from benchmarks.floor.submit import Submitter
from benchmarks.floor.wire import Wire, connect
from benchmarks.load import Send, closed_loop, open_loop
from benchmarks.processes import Children, cpu_us
from benchmarks.servers import messages, servers
from benchmarks.system.http import Pool, prepare
from benchmarks.system.start import free_port, listening
from benchmarks.workload import CLIENT, Plan, Sync, accepted_bytes, body
from bus.nats.layout import log_config
from bus.settings import BusSettings
from bus.subjects import LOG_STREAM

ROLES = ("router", "executor")


class _Floor(NamedTuple):
    """What runs; `mode` says how its workers append."""

    wire: Wire
    children: Children
    url: str
    mode: str
    nats_pid: int

    @property
    def pids(self) -> dict[str, int]:
        return {**self.children.pids, "nats server": self.nats_pid}


async def measure(folder: Path, plan: Plan, sync: Sync) -> Round:
    """Latency at a fixed rate, then saturation."""
    async with _working(folder, sync, "executor") as floor:
        submitter = Submitter(floor.wire, accepted_bytes(), grouped=floor.mode == "grouped")
        return await _loops(submitter.send, plan, folder, floor)


async def measure_hops(folder: Path, plan: Plan, sync: Sync) -> Round:
    """The same with a door before it and a cell behind it."""
    async with _working(folder, sync, "celled") as floor:
        port = free_port()
        floor.children.start("door", (sys.executable, "-m", "benchmarks.floor.door", floor.url, str(port), floor.mode))
        await listening(floor.children, port)
        pool = Pool(HOST, port, prepare(HOST, port, "none", body()))
        await pool.fill(plan.tasks_open)
        try:
            return await _loops(pool.send, plan, folder, floor)
        finally:
            pool.close()


@asynccontextmanager
async def _working(folder: Path, sync: Sync, executor: str) -> AsyncIterator[_Floor]:
    """A server with its log, and who routes and executes."""
    async with servers(folder, sync, nats_only=True) as infos:
        url, mode = infos["nats"].url, "grouped" if sync == "always" else "singly"
        wire = await connect(url)
        await _prepare(wire)
        with Children(folder / "logs", {}) as children:
            for role in ("router", executor):
                children.start(role, (sys.executable, "-m", "benchmarks.floor.roles", role, url, mode))
            yield _Floor(wire, children, url, mode, infos["nats"].pid or 0)
            children.check()
        wire.close()


async def _prepare(wire: Wire) -> None:
    """The log and its cursors, as the system configures them."""
    await wire.api(f"STREAM.CREATE.{LOG_STREAM}", log_config(BusSettings()))
    for role in ROLES:
        wanted = cursor.config(cursor_of(role))
        body = {"stream_name": LOG_STREAM, "config": wanted}
        await wire.api(f"CONSUMER.CREATE.{LOG_STREAM}.{wanted['durable_name']}", body)


async def _loops(send: Send, plan: Plan, folder: Path, floor: _Floor) -> Round:
    await closed_loop(send, tasks_open=32, seconds=plan.warm_up_s)
    fixed = await open_loop(send, rate=plan.rate, seconds=plan.open_loop_s)
    before = _usage(floor.pids, folder)
    saturated = await closed_loop(send, tasks_open=plan.tasks_open, seconds=plan.closed_loop_s)
    return round_of(fixed, saturated, before, _usage(floor.pids, folder))


def _usage(pids: dict[str, int], folder: Path) -> Usage:
    return Usage({**cpu_us(pids), CLIENT: process_time() * 1_000_000}, messages(folder))
