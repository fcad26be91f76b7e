"""Build the wasmtime engine. Only cells and the compiler import this."""

import wasmtime

from executors.wasm.engine_settings import ENGINE_SETTINGS


def new_engine() -> wasmtime.Engine:
    """An engine with `ENGINE_SETTINGS`; artifacts of one such engine load in any other of the same fingerprint."""
    config = wasmtime.Config()
    for name, value in ENGINE_SETTINGS.items():
        setattr(config, name, value)
    return wasmtime.Engine(config)
