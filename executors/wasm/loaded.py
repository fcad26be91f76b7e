"""A guest in a cell: each request gets an instance of its own, made while there was nothing else to do."""

import re
import time

import wasmtime

from executors.wasm.frames import Limits, Reply, Run, Verdict
from executors.wasm.guest import Guest, GuestFailed, Instance, OutputOverflow
from executors.wasm.ticker import EpochTicker

MAX_MESSAGE_CHARS = 400
QUICK_S = 0.002
"""What takes longer to start is not started in advance: the next request may be for another guest."""
PREPARE_S = 5 * QUICK_S
"""What is started in advance and takes so long all at once is stopped, and left alone from then on."""


class LoadedGuest:
    """`run`, and once the reply is sent `clear` and, with nothing else to do, `prepare`: nobody waits for those two."""

    def __init__(self, guest: Guest, ticker: EpochTicker) -> None:
        self._guest = guest
        self._ticker = ticker
        self._spent: Instance | None = None
        self._fresh: tuple[Limits, Instance] | None = None
        self._starts_quickly = False
        self._may_prepare = not guest.may_sleep

    def run(self, request: Run, timeout_us: int) -> Reply:
        """Call the guest once within `timeout_us`. The times in the reply leave out what `prepare` did before."""
        limits, used = request.limits, 0
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        fresh = self._take(limits)
        self._spent = instance = fresh or self._guest.open(limits)
        try:
            self._ticker.arm(instance, timeout_us / 1e6)
            verdict, payload = self._attempt(instance, request, timeout_us, started=fresh is not None)
            if limits.fuel:
                used = limits.fuel - instance.fuel_left()
        finally:
            self._ticker.disarm()
        wall_us, cpu_us = (time.perf_counter_ns() - wall) // 1000, (time.thread_time_ns() - cpu) // 1000
        return Reply(verdict, payload, used, wall_us, cpu_us)

    def clear(self) -> None:
        """Drop the instance of the last run, with all that the guest left in it."""
        if self._spent:
            self._spent.close()
            self._spent = None

    def prepare(self, limits: Limits) -> bool:
        """Start an instance for the next request; False when this guest's are better started when they are needed."""
        if self._fresh or not (self._may_prepare and self._starts_quickly):
            return False
        instance = self._guest.open(limits)
        self._ticker.arm(instance, min(PREPARE_S, limits.timeout_us / 1e6))
        try:
            self._start(instance)
        except (GuestFailed, MemoryError, wasmtime.Trap, wasmtime.WasmtimeError):
            self._may_prepare = False
            instance.close()
            return False
        finally:
            self._ticker.disarm()
        self._fresh = limits, instance
        return True

    def discard(self) -> None:
        """Drop what was prepared."""
        if self._fresh:
            self._fresh[1].close()
            self._fresh = None

    def _take(self, limits: Limits) -> Instance | None:
        if self._fresh is None:
            return None
        held_to, instance = self._fresh
        if held_to != limits:
            self.discard()
            return None
        self._fresh = None
        return instance

    def _start(self, instance: Instance) -> None:
        self._starts_quickly = False
        began = time.perf_counter()
        instance.start()
        self._starts_quickly = time.perf_counter() - began <= QUICK_S

    def _attempt(self, instance: Instance, request: Run, timeout_us: int, *, started: bool) -> tuple[Verdict, bytes]:
        try:
            if not started:
                self._start(instance)
            return Verdict.OK, instance.call(request.payload)
        except OutputOverflow:
            return Verdict.OUTPUT_TOO_LARGE, f"wrote more than {request.limits.output_bytes} bytes".encode()
        except MemoryError:
            return Verdict.OUT_OF_MEMORY, b"could not allocate room for its input"
        except (GuestFailed, wasmtime.Trap, wasmtime.WasmtimeError) as error:
            return _classify(error, instance, request.limits, timeout_us)


def _classify(error: Exception, instance: Instance, limits: Limits, timeout_us: int) -> tuple[Verdict, bytes]:
    text = str(error)
    code = error.trap_code if isinstance(error, wasmtime.Trap) else None
    if code is wasmtime.TrapCode.INTERRUPT or "wasm trap: interrupt" in text:
        return Verdict.TIMEOUT, f"ran past its {timeout_us / 1e6:g} s".encode()
    if code is wasmtime.TrapCode.OUT_OF_FUEL or "all fuel consumed" in text:
        return Verdict.TIMEOUT, f"used up its fuel of {limits.fuel}".encode()
    # The C API reports no refused memory.grow: a guest that fails after growing past half of its limit ran into it.
    if "memory limits" in text or instance.memory_grown() * 2 > limits.memory_bytes:
        return Verdict.OUT_OF_MEMORY, f"needs more than {limits.memory_bytes // 2**20} MiB".encode()
    return Verdict.TRAP, shortened(text)


def shortened(text: str) -> bytes:
    """The cause of a trap, or the beginning of any other message."""
    cause = re.search(r"wasm trap: .*", text)
    return (cause.group(0) if cause else text.strip())[:MAX_MESSAGE_CHARS].encode(errors="replace")
