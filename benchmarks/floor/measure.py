"""One round of the floor: a fresh server, two worker processes, and the load loops here."""

import sys
from pathlib import Path
from time import process_time

from benchmarks.figures import Round, Usage, round_of
from benchmarks.floor import cursor
from benchmarks.floor.roles import cursor_of
from benchmarks.floor.submit import Submitter
from benchmarks.floor.wire import Wire, connect
from benchmarks.load import closed_loop, open_loop
from benchmarks.processes import Children, cpu_us
from benchmarks.servers import messages, servers
from benchmarks.workload import CLIENT, Plan, Sync, accepted_bytes
from bus.nats.layout import log_config
from bus.settings import BusSettings
from bus.subjects import LOG_STREAM

ROLES = ("router", "executor")


async def measure(folder: Path, plan: Plan, sync: Sync) -> Round:
    """Latency at a fixed rate, then saturation."""
    async with servers(folder, sync, nats_only=True) as infos:
        url, grouped = infos["nats"].url, sync == "always"
        wire = await connect(url)
        await _prepare(wire)
        with Children(folder / "logs", {}) as children:
            for role in ROLES:
                mode = "grouped" if grouped else "singly"
                children.start(role, (sys.executable, "-m", "benchmarks.floor.roles", role, url, mode))
            submitter = Submitter(wire, accepted_bytes(), grouped=grouped)
            pids = {**children.pids, "nats server": infos["nats"].pid or 0}
            result = await _loops(submitter, plan, folder, pids)
            children.check()
        wire.close()
        return result


async def _prepare(wire: Wire) -> None:
    """The log and its cursors, as the system configures them."""
    await wire.api(f"STREAM.CREATE.{LOG_STREAM}", log_config(BusSettings()))
    for role in ROLES:
        wanted = cursor.config(cursor_of(role))
        body = {"stream_name": LOG_STREAM, "config": wanted}
        await wire.api(f"CONSUMER.CREATE.{LOG_STREAM}.{wanted['durable_name']}", body)


async def _loops(submitter: Submitter, plan: Plan, folder: Path, pids: dict[str, int]) -> Round:
    await closed_loop(submitter.send, tasks_open=32, seconds=plan.warm_up_s)
    fixed = await open_loop(submitter.send, rate=plan.rate, seconds=plan.open_loop_s)
    before = _usage(pids, folder)
    saturated = await closed_loop(submitter.send, tasks_open=plan.tasks_open, seconds=plan.closed_loop_s)
    return round_of(fixed, saturated, before, _usage(pids, folder))


def _usage(pids: dict[str, int], folder: Path) -> Usage:
    return Usage({**cpu_us(pids), CLIENT: process_time() * 1_000_000}, messages(folder))
