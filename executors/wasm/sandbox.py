"""The sandbox: packages of a folder, callable with checked params and results. No bus in here."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from executors.wasm.artifacts import ArtifactCache
from executors.wasm.pool import CellPool
from executors.wasm.store import InstalledPackage, RefusedPackage, load_packages
from schemas.errors import NotFound


class Answer(NamedTuple):
    """A checked result, and what it cost."""

    result: dict[str, Any]
    duration_s: float
    fuel_used: int | None
    cpu_s: float


class Sandbox:
    """`async with Sandbox(packages_dir, cache_dir, cells=2) as sandbox:` loads, compiles what is new and starts cells.

    `packages` maps names to what may run, `refused` lists what may not. Leaving it kills every cell.
    """

    def __init__(self, packages_dir: Path | str, cache_dir: Path | str, *, cells: int = 2) -> None:
        self._packages_dir = Path(packages_dir)
        self._cache = ArtifactCache(Path(cache_dir))
        self._pool = CellPool(cells)
        self._stack = AsyncExitStack()
        self.packages: dict[str, InstalledPackage] = {}
        self._by_intent: dict[str, InstalledPackage] = {}
        self.refused: tuple[RefusedPackage, ...] = ()

    async def __aenter__(self) -> "Sandbox":
        """Load the packages, then start the cells; `Misconfigured` for a cache others can write to."""
        loaded = await load_packages(self._packages_dir, self._cache)
        self.packages, self.refused = loaded.packages, loaded.refused
        await self._stack.enter_async_context(self._pool)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the cells."""
        await self._stack.aclose()

    @property
    def pool(self) -> CellPool:
        """The cells."""
        return self._pool

    def for_intent(self, intent: str) -> InstalledPackage | None:
        """The first package by name that answers `intent`."""
        found = self._by_intent.get(intent)
        if found is None:
            found = next((package for package in self.packages.values() if intent in package.intents), None)
            if found is not None:
                self._by_intent[intent] = found
        return found

    async def run(
        self,
        package: InstalledPackage | str,
        params: dict[str, Any],
        timeout_s: float,
        said: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """Answer `params` in a fresh instance within `timeout_s`; `said` gets what it says while it runs.

        Raises `InputInvalid` and `OutputInvalid` naming a JSON pointer, `NotFound` for an unknown name, and what
        `CellPool.run` raises. Cancelling it kills the guest.
        """
        started = time.perf_counter()
        chosen = self._find(package) if isinstance(package, str) else package
        payload = chosen.contract.encode_params(params)
        output = await self._pool.run(chosen, payload, timeout_s, said)
        result = chosen.contract.decode_result(output.payload)
        return Answer(result, time.perf_counter() - started, output.fuel_used, output.cpu_s)

    def _find(self, name: str) -> InstalledPackage:
        if name not in self.packages:
            raise NotFound(f"no package named {name[:80]!r} is installed: {', '.join(self.packages) or 'none are'}")
        return self.packages[name]
