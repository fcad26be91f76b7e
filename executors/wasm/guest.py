"""What a loaded module can do, and the stdio ABI."""

import ctypes
import errno
from collections.abc import Callable
from typing import Protocol

import wasmtime
from wasmtime import _ffi as ffi

from executors.wasm.frames import Limits

MAX_INSTANCES = 64
"""Instances in one store, and tables: a component brings several."""


class GuestFailed(Exception):
    """The guest answered with an error message of its own, or broke its contract."""


class OutputOverflow(Exception):
    """The guest produced more than its output limit."""


class Instance(Protocol):
    """A module in a store of its own: started, called once, closed. Nothing that the guest did outlives it.

    Each step raises `GuestFailed`, `OutputOverflow`, `MemoryError` or what wasmtime raises.
    """

    def set_epoch_deadline(self, ticks_after_current: int, /) -> None:
        """Interrupt what runs in it that many ticks from now on."""
        ...

    def start(self) -> None:
        """Make it ready to be called; a module's own start code runs here."""
        ...

    def call(self, payload: bytes) -> bytes:
        """The guest's output."""
        ...

    def fuel_left(self) -> int:
        """Of the limit's fuel; an error where fuel is not limited."""
        ...

    def memory_grown(self) -> int:
        """Bytes of linear memory, 0 when it did not grow or the ABI does not show it."""
        ...

    def close(self) -> None:
        """Give everything back. Safe more than once."""
        ...


class Guest(Protocol):
    """A module of one ABI, loaded and linked."""

    @property
    def may_sleep(self) -> bool:
        """Whether its start can wait inside the host, where nothing interrupts it."""
        ...

    def open(self, limits: Limits) -> Instance:
        """An instance that is not started yet, held to `limits` in all but time; the caller closes it."""
        ...


class StoreInstance:
    """What instances behind the binding's own objects have in common."""

    def __init__(self, engine: wasmtime.Engine, limits: Limits) -> None:
        self.store = wasmtime.Store(engine)
        self.limits = limits
        self.store.set_limits(limits.memory_bytes, -1, MAX_INSTANCES, MAX_INSTANCES, 1)
        if limits.fuel:
            self.store.set_fuel(limits.fuel)

    def set_epoch_deadline(self, ticks_after_current: int) -> None:
        """See `Instance`."""
        self.store.set_epoch_deadline(ticks_after_current)

    def fuel_left(self) -> int:
        """See `Instance`."""
        return self.store.get_fuel()

    def close(self) -> None:
        """See `Instance`."""
        self.store.close()


class StdioGuest:
    """A WASI preview 1 command: JSON on stdin, JSON on stdout; no arguments, environment, files or network."""

    may_sleep = False  # it is instantiated when it is called

    def __init__(self, engine: wasmtime.Engine, path: str) -> None:
        self._engine = engine
        self._pre = prelink(engine, wasmtime.Module.deserialize_file(engine, path))

    def open(self, limits: Limits) -> Instance:
        """See `Guest`."""
        return _Command(self._engine, limits, self._pre)


class _Command(StoreInstance):
    def __init__(self, engine: wasmtime.Engine, limits: Limits, pre: wasmtime.InstancePre) -> None:
        super().__init__(engine, limits)
        self._pre = pre
        self._instance: wasmtime.Instance | None = None

    def start(self) -> None:
        """Nothing yet: code that runs before stdin is set would find no WASI to call."""

    def call(self, payload: bytes) -> bytes:
        """Run `_start`; an exit code other than 0 is a failure."""
        output, store = _Capture(self.limits.output_bytes), self.store
        wasi = wasmtime.WasiConfig()
        _set_stdin(wasi, payload)
        wasi.stdout_custom = output.write
        store.set_wasi(wasi)
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

    def memory_grown(self) -> int:
        """See `Instance`."""
        return _grown_memory(self._instance, self.store)


def prelink(
    engine: wasmtime.Engine, module: wasmtime.Module, define: Callable[[wasmtime.Linker], None] | None = None
) -> wasmtime.InstancePre:
    """The module with WASI preview 1 and what `define` adds as its only imports, ready to instantiate."""
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    if define is not None:
        define(linker)
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
