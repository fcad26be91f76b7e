"""Build the wasmtime engines. Only cells and the compiler import this."""

import wasmtime
from wasmtime import _ffi as ffi

from executors.wasm.engine_settings import ENGINE_SETTINGS, POOL_SETTINGS, EngineKind


def new_engine(kind: EngineKind) -> wasmtime.Engine:
    """An engine of `kind`; artifacts of one such engine load in any other of the same kind and fingerprint."""
    config = wasmtime.Config()
    for name, value in ENGINE_SETTINGS.items():
        setattr(config, name, value)
    config.consume_fuel = kind.metered
    if kind.pooled:
        _use_pool(config)
    return wasmtime.Engine(config)


def _use_pool(config: wasmtime.Config) -> None:
    # The public binding lacks the pooling allocator; the configuration is copied, so ours is freed at once.
    pool = ffi.wasmtime_pooling_allocation_config_new()
    for name, value in POOL_SETTINGS.items():
        getattr(ffi, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    ffi.wasmtime_pooling_allocation_config_delete(pool)
