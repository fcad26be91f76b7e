"""The servers of one measurement, in a folder of their own, and the message counters of NATS."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.workload import Sync
from deploy.local import DATA_DIR, URL_VARIABLES, ServerInfo, remove, up
from deploy.local.state import StateFile

UNUSED = {variable: "unused" for name, variable in URL_VARIABLES.items() if name != "nats"}
"""Configured servers are not started: this leaves NATS alone."""


@asynccontextmanager
async def servers(folder: Path, sync: Sync, *, nats_only: bool = False) -> AsyncIterator[dict[str, ServerInfo]]:
    """Fresh servers by name, gone on leaving with all they stored. Downloads are shared with `make run`."""
    cache = DATA_DIR.parent / "cache"
    try:
        infos = await asyncio.to_thread(
            lambda: up(folder, UNUSED if nats_only else {}, nats_sync=sync, cache_dir=cache.resolve())
        )
        yield {info.name: info for info in infos}
    finally:
        await asyncio.to_thread(remove, folder)


def messages(folder: Path) -> int:
    """Messages in and out of the NATS server since its start, as clients sent and got them."""
    port = StateFile(folder.resolve()).read().started["nats"].ports["monitor"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/varz", timeout=5) as answer:
        varz = json.load(answer)
    return int(varz["in_msgs"]) + int(varz["out_msgs"])
