"""The power fails under load: with fsync the log keeps what it acknowledged, and without it does not."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from harness.disk import disk, why_not
from natsd import Natsd
from story import Story

from bus import BusSettings, open_bus
from schemas.errors import AionError
from schemas.ids import TaskId, TenantId

pytestmark = [pytest.mark.alone, pytest.mark.skipif(why_not() is not None, reason=f"no power to cut: {why_not()}")]

TENANT = TenantId("acme")
WRITERS = 40
LOAD_S = 3.0


async def load(settings: BusSettings, acknowledged: dict[str, int], stop: asyncio.Event) -> None:
    """Write until the power fails; `acknowledged` are the sequences by task."""
    story = Story()
    async with open_bus(settings) as bus:

        async def write(number: int) -> None:
            count = 0
            while not stop.is_set():
                name = f"t{number}-{count}"
                count += 1
                try:
                    acknowledged[name] = await bus.log.append(story.accepted(name), after=0, timeout_s=2.0)
                except AionError:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(write(number) for number in range(WRITERS)))


async def lost(settings: BusSettings, acknowledged: Mapping[str, int]) -> list[str]:
    """The tasks whose event is not where the server said that it was stored."""
    async with open_bus(settings) as bus:
        last = {name: await bus.log.last(TENANT, TaskId(name)) for name in acknowledged}
    return [name for name, found in last.items() if found is None or found.sequence != acknowledged[name]]


async def survivors(binary: str, folder: Path, sync: str) -> tuple[int, int]:
    """How many appends were acknowledged before the power failed, and how many of them are lost."""
    acknowledged: dict[str, int] = {}
    stop = asyncio.Event()
    with disk(folder) as disk_of_its_own:
        natsd = Natsd(binary, folder, store=disk_of_its_own.path / "store", sync=sync).start()
        try:
            writing = asyncio.create_task(load(natsd.settings(), acknowledged, stop))
            await asyncio.sleep(LOAD_S)
            disk_of_its_own.cut()
            natsd.kill()
            stop.set()
            await writing
            disk_of_its_own.unmount()
            disk_of_its_own.mount()
            natsd.start()
            return len(acknowledged), len(await lost(natsd.settings(), acknowledged))
        finally:
            natsd.kill()


@pytest.mark.timeout(120)
async def test_with_fsync_what_was_acknowledged_survives_a_power_cut(nats_binary: str, tmp_path: Path) -> None:
    acknowledged, gone = await survivors(nats_binary, tmp_path, "always")
    assert acknowledged > 200
    assert gone == 0, f"{gone} of {acknowledged} acknowledged appends are lost"


@pytest.mark.timeout(120)
async def test_without_fsync_it_does_not_so_the_cut_is_one(nats_binary: str, tmp_path: Path) -> None:
    acknowledged, gone = await survivors(nats_binary, tmp_path, '"2m"')
    assert acknowledged > 200
    assert gone > 0
