"""The reactor ABI, called through the C API: what costs 15 us a call as objects costs 1 us here.

The object API looks exports up by name and reads the type of every function again on every call. A module's exports
stand in a fixed order, so their places and types are settled once, when it is loaded; a call then only moves numbers.
"""

import ctypes
from ctypes import c_size_t, c_uint64, c_void_p

import wasmtime
from wasmtime import _ffi as ffi

from executors.wasm import capi
from executors.wasm.frames import Limits
from executors.wasm.guest import MAX_INSTANCES, GuestFailed, Instance, OutputOverflow, prelink
from executors.wasm.speech import Speech

ERROR_BIT = 1 << 63
PAGE_BYTES = 65536
_FUNCTIONS = {
    "aion_alloc": (["i32"], ["i32"]),
    "aion_handle": (["i32", "i32"], ["i64"]),
    "_initialize": ([], []),
}


def check_exports(module: wasmtime.Module) -> None:
    """`ValueError` unless the ABI's exports have its types: an unchecked call of another type would corrupt memory."""
    for item in module.exports:
        kind = item.type
        if item.name == "memory" and not isinstance(kind, wasmtime.MemoryType):
            raise ValueError("export 'memory' is not a memory")
        if item.name in _FUNCTIONS:
            params, results = _FUNCTIONS[item.name]
            if not isinstance(kind, wasmtime.FuncType):
                raise ValueError(f"export {item.name!r} is not a function")
            if [str(one) for one in kind.params] != params or [str(one) for one in kind.results] != results:
                raise ValueError(f"export {item.name!r} must have the type ({', '.join(params)}) -> {results}")


def define_emit(linker: wasmtime.Linker, emit: object) -> None:
    """Let modules import `aion.emit` (i32, i32) -> i32, which calls `emit`, a `capi.Callback` that the caller keeps."""
    numbers = [wasmtime.ValType.i32(), wasmtime.ValType.i32()]
    kind = wasmtime.FuncType(numbers, numbers[:1])
    names = (b"aion", 4, b"emit", 4)
    error = capi.define_func(_address(linker.ptr()), *names, _address(kind.ptr()), emit, None, None)
    if error:
        raise wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t)))


class ReactorGuest:
    """A module exporting `aion_alloc`, `aion_handle` and `memory`; the cheapest ABI.

    What it hands to `aion.emit` while it handles a request goes to `speech`; 1 says that it was taken.
    """

    def __init__(self, engine: wasmtime.Engine, path: str, speech: Speech) -> None:
        module = wasmtime.Module.deserialize_file(engine, path)
        check_exports(module)
        self.speech = speech
        self.running: _ReactorInstance | None = None
        self._emit = capi.Callback(self._on_emit)
        pre = prelink(engine, module, lambda linker: define_emit(linker, self._emit))
        self._owned = engine, pre  # what the addresses below point to
        self.engine_at, self.pre_at = (_address(owned.ptr()) for owned in self._owned)
        self.uses_wasi = any(item.module != "aion" for item in module.imports)
        self.speaks = any(item.module == "aion" for item in module.imports)
        places = {item.name: (place, item.type) for place, item in enumerate(module.exports)}
        self.alloc, self.handle = places["aion_alloc"][0], places["aion_handle"][0]
        self.initialize = places["_initialize"][0] if "_initialize" in places else None
        self.memory, kind = places["memory"]
        self.least_bytes = kind.limits.min * PAGE_BYTES if isinstance(kind, wasmtime.MemoryType) else 0

    @property
    def may_sleep(self) -> bool:
        """See `Guest`."""
        return self.uses_wasi

    def open(self, limits: Limits) -> Instance:
        """See `Guest`."""
        return _ReactorInstance(self, limits)

    def _on_emit(self, _env: int, _caller: int, values_at: int, _count: int) -> None:
        """Called by the guest: two `wasmtime_val_raw_t` in, one out. Nothing may be raised into wasm."""
        values = (c_uint64 * 4).from_address(values_at)
        running = self.running
        try:
            taken = running is not None and self.speech.say(running.read(values[0], values[2]))
        except OSError:  # the parent is gone, and this process will be
            taken = False
        values[0] = int(taken)


class _Desk(ctypes.Structure):
    """What the C API fills in and reads again for one instance."""

    _fields_ = (
        ("instance", ffi.wasmtime_instance_t),
        ("alloc", ffi.wasmtime_extern_t),
        ("handle", ffi.wasmtime_extern_t),
        ("memory", ffi.wasmtime_extern_t),
        ("trap", c_void_p),
        ("name", c_void_p),
        ("name_length", c_size_t),
        ("values", c_uint64 * 4),  # two `wasmtime_val_raw_t` of 16 bytes: numbers 0 and 2 are read and written
    )


_ALLOC, _HANDLE, _MEMORY, _TRAP, _NAME, _NAME_LENGTH, _VALUES = (
    getattr(_Desk, name).offset for name in ("alloc", "handle", "memory", "trap", "name", "name_length", "values")
)
_OF: int = ffi.wasmtime_extern_t.of.offset


class _ReactorInstance:
    __slots__ = ("_alive", "_context", "_desk", "_desk_at", "_guest", "_limits", "_store", "_values")

    def __init__(self, guest: ReactorGuest, limits: Limits) -> None:
        self._guest, self._limits, self._alive = guest, limits, False
        self._desk = desk = _Desk()
        self._desk_at, self._values = ctypes.addressof(desk), desk.values
        self._store = capi.store_new(guest.engine_at, None, None)
        self._context = context = capi.store_context(self._store)
        capi.store_limiter(self._store, limits.memory_bytes, -1, MAX_INSTANCES, MAX_INSTANCES, 1)
        if limits.fuel:
            self._check(capi.set_fuel(context, limits.fuel))

    def set_epoch_deadline(self, ticks_after_current: int) -> None:
        """See `Instance`."""
        capi.set_epoch_deadline(self._context, ticks_after_current)

    def start(self) -> None:
        """See `Instance`."""
        guest, at = self._guest, self._desk_at
        if guest.uses_wasi:
            self._check(capi.set_wasi(self._context, _address(wasmtime.WasiConfig()._consume())))
        self._check(capi.instantiate(guest.pre_at, self._context, at, at + _TRAP))
        self._alive = True
        self._find(guest.memory, _MEMORY)
        if guest.initialize is not None:
            self._find(guest.initialize, _HANDLE)
            self._invoke(_HANDLE)
        self._find(guest.alloc, _ALLOC)
        self._find(guest.handle, _HANDLE)

    def call(self, payload: bytes) -> bytes:
        """Copy the input in, handle it, copy the output out; nothing is freed, the store goes as a whole."""
        values, length = self._values, len(payload)
        values[0] = length
        self._invoke(_ALLOC)
        pointer = values[0] & 0xFFFFFFFF
        if pointer == 0 or pointer + length > self._memory_bytes():
            raise MemoryError
        ctypes.memmove(self._base() + pointer, payload, length)
        values[0], values[2] = pointer, length
        if self._guest.speaks:
            self._handle_aloud()
        else:
            self._invoke(_HANDLE)
        return self._output(values[0])

    def read(self, pointer: int, length: int) -> bytes:
        """Bytes of the guest's memory; none when they lie outside of it."""
        pointer, length = pointer & 0xFFFFFFFF, length & 0xFFFFFFFF
        return ctypes.string_at(self._base() + pointer, length) if pointer + length <= self._memory_bytes() else b""

    def fuel_left(self) -> int:
        """See `Instance`."""
        self._check(capi.get_fuel(self._context, self._desk_at + _VALUES))
        return int(self._values[0])

    def memory_grown(self) -> int:
        """See `Instance`."""
        size_bytes = self._memory_bytes() if self._alive else 0
        return size_bytes if size_bytes > self._guest.least_bytes else 0

    def close(self) -> None:
        """See `Instance`."""
        store, self._store = self._store, None
        if store:
            capi.store_delete(store)

    def _handle_aloud(self) -> None:
        guest = self._guest
        guest.speech.begin(self._limits.output_bytes)
        guest.running = self
        try:
            self._invoke(_HANDLE)
        finally:
            guest.running = None

    def _find(self, place: int, into: int) -> None:
        at = self._desk_at
        capi.export_nth(self._context, at, place, at + _NAME, at + _NAME_LENGTH, at + into)

    def _invoke(self, function: int) -> None:
        at = self._desk_at
        self._check(capi.call_unchecked(self._context, at + function + _OF, at + _VALUES, 2, at + _TRAP))

    def _check(self, error: int | None) -> None:
        if error:
            raise wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t)))
        if trap := self._desk.trap:
            self._desk.trap = None
            raise wasmtime.Trap._from_ptr(ctypes.cast(trap, ctypes.POINTER(ffi.wasm_trap_t)))

    def _memory_bytes(self) -> int:
        size_bytes: int = capi.memory_size(self._context, self._desk_at + _MEMORY + _OF)
        return size_bytes

    def _base(self) -> int:
        # Asked anew after every call: a memory that grew may have moved.
        address: int = capi.memory_data(self._context, self._desk_at + _MEMORY + _OF)
        return address

    def _output(self, packed: int) -> bytes:
        pointer, length = (packed & ~ERROR_BIT) >> 32, packed & 0xFFFFFFFF
        if pointer + length > self._memory_bytes():
            raise GuestFailed("answered with bytes outside of its memory")
        if length > self._limits.output_bytes:
            raise OutputOverflow
        output = ctypes.string_at(self._base() + pointer, length)
        if packed & ERROR_BIT:
            raise GuestFailed(output.decode(errors="replace"))
        return output


def _address(pointer: object) -> int | None:
    return ctypes.cast(pointer, c_void_p).value  # type: ignore[arg-type]  # any pointer will do
