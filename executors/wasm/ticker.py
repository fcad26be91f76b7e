"""The epoch ticker: one thread that interrupts the running guest when its deadline has passed."""

import threading
import time

import wasmtime

TICK_S = 0.004


class EpochTicker:
    """Raises the engine's epoch once per passed deadline; sleeps for free while nothing runs.

    A guest inside a host call does not notice; the parent's watchdog is for those.
    """

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._busy = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._tick_forever, name="epoch-ticker", daemon=True)

    def start(self) -> None:
        """Start the thread; it lives as long as the process."""
        self._thread.start()

    def arm(self, store: wasmtime.Store, timeout_s: float) -> None:
        """Interrupt what `store` runs once `timeout_s` has passed."""
        with self._lock:  # a late tick for the previous guest must not hit this one
            self._deadline = time.monotonic() + timeout_s
            store.set_epoch_deadline(1)
        if not self._busy.is_set():
            self._busy.set()

    def disarm(self) -> None:
        """Nothing runs any more."""
        self._deadline = None

    def _tick_forever(self) -> None:
        while self._busy.wait():
            time.sleep(TICK_S)
            with self._lock:
                if self._deadline is None:
                    self._busy.clear()
                elif time.monotonic() >= self._deadline:
                    self._engine.increment_epoch()
                    self._deadline = None
