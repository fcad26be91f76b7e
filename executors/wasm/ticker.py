"""The epoch ticker: one thread that interrupts the running guest when its deadline has passed."""

import threading
import time
from typing import Protocol

import wasmtime


class Interruptible(Protocol):
    """What runs on one of the engines: an instance, or its store."""

    def set_epoch_deadline(self, ticks_after_current: int, /) -> None:
        """Interrupt it that many ticks from now on."""
        ...


class EpochTicker:
    """Raises the engines' epoch once per passed deadline; otherwise it sleeps until the soonest it knows of.

    A later deadline never wakes the thread: under a stream of short calls it wakes about once per `timeout_s`, not per
    call. A guest inside a host call does not notice; the parent's watchdog is for those.
    """

    def __init__(self) -> None:
        self._engines: tuple[wasmtime.Engine, ...] = ()
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._wakes_at = float("inf")
        self._thread = threading.Thread(target=self._tick_forever, name="epoch-ticker", daemon=True)

    def start(self) -> None:
        """Start the thread; it lives as long as the process."""
        self._thread.start()

    def watch(self, engine: wasmtime.Engine) -> None:
        """Let the deadlines of `engine`'s stores count."""
        self._engines = (*self._engines, engine)

    def arm(self, running: Interruptible, timeout_s: float) -> None:
        """Interrupt it once `timeout_s` has passed."""
        deadline = time.monotonic() + timeout_s
        with self._changed:  # a late tick for the previous guest must not hit this one
            self._deadline = deadline
            running.set_epoch_deadline(1)
            if deadline < self._wakes_at:
                self._changed.notify()

    def disarm(self) -> None:
        """Nothing runs any more."""
        self._deadline = None

    def _tick_forever(self) -> None:
        with self._changed:
            while True:
                deadline, now = self._deadline, time.monotonic()
                if deadline is not None and deadline <= now:
                    for engine in self._engines:
                        engine.increment_epoch()
                    self._deadline = deadline = None
                self._wakes_at = float("inf") if deadline is None else deadline
                self._changed.wait(None if deadline is None else deadline - now)
