"""One call of a package on its way through the pool, and what its reply means."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from executors.wasm.frames import Limits, Load, Reply, Run, Verdict
from executors.wasm.store import InstalledPackage
from schemas.errors import (
    AionError,
    DeadlineExceeded,
    ModuleOutOfMemory,
    ModuleTimeout,
    ModuleTrap,
    OutputTooLarge,
    PackageInvalid,
)

_FAILURES: dict[Verdict, type[AionError]] = {
    Verdict.TRAP: ModuleTrap,
    Verdict.TIMEOUT: ModuleTimeout,
    Verdict.OUT_OF_MEMORY: ModuleOutOfMemory,
    Verdict.OUTPUT_TOO_LARGE: OutputTooLarge,
    Verdict.NOT_LOADED: PackageInvalid,
    Verdict.EXPIRED: DeadlineExceeded,
}


class Output(NamedTuple):
    """What a guest answered, and what it used inside its cell; fuel is counted only where it is limited."""

    payload: bytes
    fuel_used: int | None
    wall_s: float
    cpu_s: float


@dataclass(slots=True, eq=False)
class Request:
    """A call somebody waits for; `deadline` is on the monotonic clock, which parent and cells share.

    `said` is called with what the guest says while it runs, never after the reply.
    """

    package: InstalledPackage
    payload: bytes
    deadline: float
    reply: asyncio.Future[Reply]
    said: Callable[[bytes], None] | None = None
    loads: int = field(default=0)

    def load(self) -> Load:
        """What a cell that never ran this package must be told first."""
        package = self.package
        return Load(package.manifest.spec.entry.abi, package.key, package.metered, str(package.artifact))

    def run(self) -> Run:
        """What a cell is told."""
        spec = self.package.manifest.spec
        allowed = spec.limits
        limits = Limits(
            timeout_us=allowed.timeout_ms * 1000,
            memory_bytes=allowed.memory_mib * 2**20,
            output_bytes=allowed.output_kib * 1024,
            fuel=allowed.fuel or 0,
        )
        return Run(spec.entry.abi, self.package.key, max(0, int(self.deadline * 1e6)), limits, self.payload)

    def succeed(self, reply: Reply) -> None:
        """Hand the reply over, if anybody still waits."""
        if not self.reply.done():
            self.reply.set_result(reply)

    def fail(self, error: AionError) -> None:
        """Raise `error` where it is awaited, if anybody still waits."""
        if not self.reply.done():
            self.reply.set_exception(error)


def judged(reply: Reply, name: str) -> Output:
    """The output in a reply, or the error that its verdict stands for."""
    failure = _FAILURES.get(reply.verdict)
    if failure:
        raise failure(f"{name}: {reply.payload.decode(errors='replace')}")
    return Output(reply.payload, reply.fuel_used or None, reply.wall_us / 1e6, reply.cpu_us / 1e6)
