"""The component ABI: `handle: func(input: string) -> result<string, string>`, as componentize-py builds it."""

from typing import Any

import wasmtime
from wasmtime import component

from executors.wasm.frames import Limits
from executors.wasm.guest import GuestFailed, OutputOverflow


class ComponentGuest:
    """A component with one export; WASI 0.2 is linked with nothing in it: no files, environment or network."""

    def __init__(self, engine: wasmtime.Engine, path: str) -> None:
        self._component = component.Component.deserialize_file(engine, path)
        self._linker = component.Linker(engine)
        self._linker.add_wasip2()

    def call(self, store: wasmtime.Store, limits: Limits, payload: bytes) -> bytes:
        """Call `handle` once; its `err` becomes `GuestFailed`."""
        store.set_wasi(wasmtime.WasiConfig())
        instance = self._linker.instantiate(store, self._component)
        handle = instance.get_func(store, "handle")
        if handle is None:
            raise GuestFailed("does not export the function 'handle'")
        answer: Any = handle(store, payload.decode())
        if not isinstance(answer, component.Variant) or not isinstance(answer.payload, str):
            raise GuestFailed("export 'handle' does not have the type func(string) -> result<string, string>")
        output = answer.payload.encode()
        if len(output) > limits.output_bytes:
            raise OutputOverflow
        if answer.tag != "ok":
            raise GuestFailed(answer.payload)
        return output

    def memory_grown(self, store: wasmtime.Store) -> int:
        """A component shows no memory to its host."""
        return 0
