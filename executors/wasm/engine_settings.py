"""The one engine configuration, as plain data: the parent names artifacts by it and never imports the engine."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

ENGINE_SETTINGS: dict[str, bool | int] = {
    "epoch_interruption": True,
    "consume_fuel": True,
    # Far below the 8 MiB of a main thread: a guest that recurses traps instead of crashing its cell.
    "max_wasm_stack": 1024 * 1024,
    "wasm_threads": False,
    "wasm_memory64": False,
}

MIN_THREAD_STACK_BYTES = 4 * 1024 * 1024


def engine_fingerprint() -> str:
    """Changes whenever an artifact compiled earlier must not be loaded: engine, settings or CPU differ."""
    parts = [version("wasmtime"), json.dumps(ENGINE_SETTINGS, sort_keys=True), platform.machine(), _cpu_flags()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _cpu_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
