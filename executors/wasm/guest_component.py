"""The component ABI: `handle: func(input: string) -> result<string, string>`, as componentize-py builds it."""

from typing import Any

import wasmtime
from wasmtime import component

from executors.wasm.frames import Limits
from executors.wasm.guest import GuestFailed, Instance, OutputOverflow, StoreInstance


class ComponentGuest:
    """A component with one export; WASI 0.2 is linked with nothing in it: no files, environment or network."""

    may_sleep = True  # WASI's clocks can be waited for

    def __init__(self, engine: wasmtime.Engine, path: str) -> None:
        self._engine = engine
        self._component = component.Component.deserialize_file(engine, path)
        self._linker = component.Linker(engine)
        self._linker.add_wasip2()

    def open(self, limits: Limits) -> Instance:
        """See `Guest`."""
        return _ComponentInstance(self._engine, limits, self._linker, self._component)


class _ComponentInstance(StoreInstance):
    def __init__(
        self, engine: wasmtime.Engine, limits: Limits, linker: component.Linker, module: component.Component
    ) -> None:
        super().__init__(engine, limits)
        self._linker = linker
        self._component = module
        self._handle: component.Func | None = None

    def start(self) -> None:
        """See `Instance`."""
        self.store.set_wasi(wasmtime.WasiConfig())
        self._handle = self._linker.instantiate(self.store, self._component).get_func(self.store, "handle")

    def call(self, payload: bytes) -> bytes:
        """Call `handle`; its `err` becomes `GuestFailed`."""
        if self._handle is None:
            raise GuestFailed("does not export the function 'handle'")
        answer: Any = self._handle(self.store, payload.decode())
        if not isinstance(answer, component.Variant) or not isinstance(answer.payload, str):
            raise GuestFailed("export 'handle' does not have the type func(string) -> result<string, string>")
        output = answer.payload.encode()
        if len(output) > self.limits.output_bytes:
            raise OutputOverflow
        if answer.tag != "ok":
            raise GuestFailed(answer.payload)
        return output

    def memory_grown(self) -> int:
        """A component shows no memory to its host."""
        return 0
