"""The engine configurations, as plain data: the parent names artifacts by them and never imports the engine."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ENGINE_SETTINGS: dict[str, bool | int] = {
    "epoch_interruption": True,
    # Far below the 8 MiB of a main thread: a guest that recurses traps instead of crashing its cell.
    "max_wasm_stack": 1024 * 1024,
    "wasm_threads": False,
    "wasm_memory64": False,
}

# The pool hands a core module a ready place and keeps its first pages mapped: about 20 page faults less per run.
# Nothing survives in them, wasmtime resets a place before its next use. All but `keep_resident` is address space only.
POOL_SETTINGS: dict[str, int] = {
    "total_core_instances": 16,
    "total_memories": 16,
    "total_tables": 64,
    "max_memory_size": 1024 * 1024 * 1024,  # as much as a manifest may ask for
    "max_tables_per_module": 4,
    "table_elements": 1024 * 1024,
    "max_core_instance_size": 16 * 1024 * 1024,
    "linear_memory_keep_resident": 256 * 1024,
    "table_keep_resident": 64 * 1024,
}

MIN_THREAD_STACK_BYTES = 4 * 1024 * 1024


class EngineKind(NamedTuple):
    """Which engine a package needs. Counting fuel costs a guest a sixth of its time, so only those with a limit pay."""

    pooled: bool
    metered: bool


def kind_of(abi: str, *, metered: bool) -> EngineKind:
    """Components stay out of the pool: they bring many instances and tables, and gain nothing from it."""
    return EngineKind(pooled=abi != "component", metered=metered)


def engine_fingerprint() -> str:
    """Changes whenever an artifact compiled earlier must not be loaded: engine, settings or CPU differ."""
    settings = json.dumps([ENGINE_SETTINGS, POOL_SETTINGS], sort_keys=True)
    parts = [version("wasmtime"), settings, platform.machine(), _cpu_flags()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _cpu_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
