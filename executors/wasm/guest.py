"""What a loaded module can do, and the stdio ABI: a fresh Store and instance for every call, dropped right after."""

import ctypes
import errno
from typing import Protocol

import wasmtime
from wasmtime import _ffi as ffi

from executors.wasm.frames import Limits


class GuestFailed(Exception):
    """The guest answered with an error message of its own, or broke its contract."""


class OutputOverflow(Exception):
    """The guest produced more than its output limit."""


class Guest(Protocol):
    """A module of one ABI, loaded and linked."""

    def call(self, store: wasmtime.Store, limits: Limits, payload: bytes) -> bytes:
        """The guest's output; raises `GuestFailed`, `OutputOverflow` or what wasmtime raises."""
        ...

    def memory_grown(self, store: wasmtime.Store) -> int:
        """Bytes of linear memory after the last call, 0 when it did not grow or the ABI does not show it."""
        ...


class StdioGuest:
    """A WASI preview 1 command: JSON on stdin, JSON on stdout; no arguments, environment, files or network."""

    def __init__(self, engine: wasmtime.Engine, path: str) -> None:
        self._module = wasmtime.Module.deserialize_file(engine, path)
        self._pre = prelink(engine, self._module)
        self._instance: wasmtime.Instance | None = None

    def call(self, store: wasmtime.Store, limits: Limits, payload: bytes) -> bytes:
        """Run `_start`; an exit code other than 0 is a failure."""
        output = _Capture(limits.output_bytes)
        wasi = wasmtime.WasiConfig()
        _set_stdin(wasi, payload)
        wasi.stdout_custom = output.write
        store.set_wasi(wasi)
        self._instance = None
        try:
            self._instance = self._pre.instantiate(store)
            _function(self._instance, store, "_start")(store)
        except wasmtime.ExitTrap as stop:
            if stop.code != 0 and not output.overflowed:
                raise GuestFailed(f"exited with status {stop.code}") from stop
        except wasmtime.Trap:
            if not output.overflowed:
                raise
        if output.overflowed:
            raise OutputOverflow
        return bytes(output.data)

    def memory_grown(self, store: wasmtime.Store) -> int:
        """See `Guest`."""
        return _grown_memory(self._instance, store)


def prelink(engine: wasmtime.Engine, module: wasmtime.Module) -> wasmtime.InstancePre:
    """The module with WASI preview 1 as its only imports, ready to instantiate."""
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    return linker.instantiate_pre(module)


def _function(instance: wasmtime.Instance, store: wasmtime.Store, name: str) -> wasmtime.Func:
    found = instance.exports(store).get(name)
    if not isinstance(found, wasmtime.Func):
        raise GuestFailed(f"does not export the function {name!r}")
    return found


def _grown_memory(instance: wasmtime.Instance | None, store: wasmtime.Store) -> int:
    memory = instance.exports(store).get("memory") if instance else None
    if not isinstance(memory, wasmtime.Memory):
        return 0
    return memory.data_len(store) if memory.size(store) > memory.type(store).limits.min else 0


def _set_stdin(wasi: wasmtime.WasiConfig, payload: bytes) -> None:
    # The public binding takes stdin from files only; the C API takes over the vector's buffer.
    vector = ffi.wasm_byte_vec_t()
    ffi.wasm_byte_vec_new(vector, len(payload), (ctypes.c_ubyte * len(payload)).from_buffer_copy(payload))
    ffi.wasi_config_set_stdin_bytes(wasi.ptr(), vector)


class _Capture:
    """Collects stdout up to a limit, then answers EIO so that a flooding guest stops at once."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.overflowed = False
        self._limit = limit

    def write(self, chunk: bytes) -> int:
        if len(self.data) + len(chunk) > self._limit:
            self.overflowed = True
            return -errno.EIO
        self.data += chunk
        return len(chunk)
