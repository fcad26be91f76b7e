"""The executor's real sandbox over a double of its cells: what a guest does is decided by its input and the seed."""

import asyncio
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from simulation.loop import PROCESS

from executors.wasm.contract import Contract
from executors.wasm.pool import CellPool
from executors.wasm.request import Output
from executors.wasm.sandbox import Sandbox
from executors.wasm.store import InstalledPackage
from schemas.errors import DeadlineExceeded, ModuleTrap, Unavailable
from schemas.package import AgentPackage

INTENT = "summarize"


@cache
def package() -> InstalledPackage:
    """The one package: `text` in, `summary` out, checked by the executor's own contract."""
    text = {"type": "string"}
    manifest = AgentPackage.model_validate(
        {
            "apiVersion": "aionos/v1",
            "kind": "AgentPackage",
            "metadata": {"name": "summarize_text", "version": "1.0.0"},
            "spec": {
                "intents": [INTENT],
                "runtime": "wasm",
                "entry": {"module": "m.wasm", "digest": "sha256:" + "0" * 64, "abi": "reactor"},
                "input_schema": _object({"text": text, "work_s": {"type": "number"}, "does": text}, ["text"]),
                "output_schema": _object({"summary": text}, ["summary"]),
            },
        }
    )
    return InstalledPackage(manifest, b"k" * 32, Path("nowhere"), Contract(manifest))


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


class Cells(CellPool):
    """Runs nothing: waits as long as `work_s` of the params says, then does what `does` says."""

    def __init__(self, rng: Random) -> None:
        super().__init__(1)
        self._rng = rng

    async def run(
        self,
        package: InstalledPackage,
        payload: bytes,
        timeout_s: float,
        said: Callable[[bytes], None] | None = None,
    ) -> Output:
        """See `CellPool.run`."""
        params = json.loads(payload)
        work_s = params.get("work_s", 0.001)
        if work_s > timeout_s:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded(f"no WASM cell got free for {package.name} in time")
        await asyncio.sleep(work_s)
        if params.get("does") == "kill":
            PROCESS.get().die(params["text"])
            await asyncio.get_running_loop().create_future()  # nothing of a dead process goes on
        if params.get("does") == "trap":
            raise ModuleTrap(f"{package.name}: unreachable")
        if params.get("does") == "busy" and self._rng.random() < 0.5:
            raise Unavailable("requests wait for 1 WASM cells", retry_after_s=1.0)
        result = "no JSON" if params.get("does") == "babble" else json.dumps({"summary": params["text"][:8]})
        return Output(result.encode(), None, work_s, work_s)


class SimulatedSandbox(Sandbox):
    """`Sandbox` with its package installed and its cells doubled; checking and translating is the real thing."""

    def __init__(self, rng: Random) -> None:
        super().__init__("nowhere", "nowhere")
        self._pool = Cells(rng)

    async def __aenter__(self) -> "SimulatedSandbox":
        """Nothing is loaded and no process started."""
        self.packages = {package().name: package()}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing runs."""
