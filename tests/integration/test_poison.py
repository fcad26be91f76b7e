"""A task that kills the executor it meets: a few are lost with it, and then nobody tries it any more."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from natsd import Natsd
from story import Story

from actors.runtime.suspects import MOST_LOST, TRUSTED
from bus import Bus, open_bus
from executors.wasm.build import build
from schemas.events import Ended, Outcome
from schemas.ids import TaskId, TenantId
from schemas.message import changed

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
TENANT = TenantId("acme")
POISON, INNOCENT = "POISON. It kills.", "One. Two. Three."
EXECUTOR = f"""
import os, signal, sys
from executors.wasm.sandbox import Sandbox
run = Sandbox.run
async def fatal(self, package, params, *more):
    if params["text"] == {POISON!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return await run(self, package, params, *more)
Sandbox.run = fatal
from actors.cli.main import main
sys.argv[1:] = ["run", "wasm"]
main()
"""


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


async def route(bus: Bus, name: str, text: str) -> None:
    story, now_ms = Story(), bus.now_ms()
    accepted, routed = story.accepted(name, text=text), story.routed(name)
    brief = changed(accepted.brief, accepted_at_ms=now_ms, deadline_ms=now_ms + 120_000)
    first = await bus.log.append(changed(accepted, brief=brief, at_ms=now_ms), after=0)
    event = changed(routed, brief=brief, at_ms=now_ms, engine="wasm", params={"text": text})
    await bus.log.append(event, after=first)


async def end_of(bus: Bus, name: str) -> Ended | None:
    last = await bus.log.last(TENANT, TaskId(name))
    event = last.event() if last is not None else None
    return event if isinstance(event, Ended) else None


def environment(nats: Natsd) -> Mapping[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("AION_")}
    packages, cache = str(ROOT / "build" / "packages"), str(ROOT / "build" / "wasm-test-cache")
    settings = {"PACKAGES_DIR": packages, "CACHE_DIR": cache, "CELLS": "1", "ACK_WAIT_S": "1"}
    return mine | {"AION_NATS__URL": nats.url} | {f"AION_WASM__{name}": value for name, value in settings.items()}


@pytest.mark.timeout(120)
async def test_a_task_that_kills_its_executor_is_given_up_and_its_neighbours_are_answered(
    nats: Natsd, tmp_path: Path
) -> None:
    build("summarize_text", ROOT / "build" / "packages")
    killed = 0
    async with open_bus(nats.settings()) as bus:
        for name in random.sample(["t0", "t1", "t2", "t3"], 4):
            await route(bus, name, POISON if name == "t0" else INNOCENT)
        while await end_of(bus, "t0") is None:
            with (tmp_path / f"wasm.{killed}.log").open("wb") as out:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", EXECUTOR, env=environment(nats), cwd=ROOT,
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                )  # fmt: skip
            try:
                while process.returncode is None and await end_of(bus, "t0") is None:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
            finally:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()
                else:
                    assert process.returncode == -9, (tmp_path / f"wasm.{killed}.log").read_text()
                    killed += 1
        ends = {name: await end_of(bus, name) for name in ("t0", "t1", "t2", "t3")}
    poisoned = ends.pop("t0")
    assert poisoned is not None
    assert poisoned.error is not None
    assert (poisoned.outcome, poisoned.error.code) == (Outcome.FAILED, "poison")
    assert killed == TRUSTED + MOST_LOST
    assert all(end is not None and end.outcome is Outcome.COMPLETED for end in ends.values())
