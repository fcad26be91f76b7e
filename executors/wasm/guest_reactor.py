"""The reactor ABI, called through the C API: what costs 15 us a call as objects costs 2 us here.

The object API looks exports up by name and reads the type of every function again on every call. A module's exports
stand in a fixed order, so their places and types are settled once, when it is loaded; a call then only moves numbers.
"""

import ctypes
from ctypes import byref
from typing import TypeAlias

import wasmtime
from wasmtime import _ffi as ffi

from executors.wasm.frames import Limits
from executors.wasm.guest import GuestFailed, OutputOverflow, prelink

_Context: TypeAlias = "ctypes._Pointer[ffi.wasmtime_context_t]"

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


class ReactorGuest:
    """A module exporting `aion_alloc`, `aion_handle` and `memory`; the cheapest ABI. One call at a time."""

    def __init__(self, engine: wasmtime.Engine, path: str) -> None:
        self._module = wasmtime.Module.deserialize_file(engine, path)
        check_exports(self._module)
        self._pre = prelink(engine, self._module)
        self._imports = bool(self._module.imports)
        places = {item.name: (place, item.type) for place, item in enumerate(self._module.exports)}
        self._alloc, self._handle = places["aion_alloc"][0], places["aion_handle"][0]
        self._initialize = places["_initialize"][0] if "_initialize" in places else None
        self._memory_at, memory_type = places["memory"]
        self._least_bytes = memory_type.limits.min * PAGE_BYTES if isinstance(memory_type, wasmtime.MemoryType) else 0
        self._instance = ffi.wasmtime_instance_t()
        self._export, self._memory = ffi.wasmtime_extern_t(), ffi.wasmtime_extern_t()
        self._name, self._name_length = ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t()
        self._slots = (ffi.wasmtime_val_raw_t * 2)()
        self._alive = False

    def call(self, store: wasmtime.Store, limits: Limits, payload: bytes) -> bytes:
        """Copy the input in, handle it, copy the output out; nothing is freed, the Store goes as a whole."""
        self._alive = False
        if self._imports:
            store.set_wasi(wasmtime.WasiConfig())
        context = store._context()
        self._instantiate(context)
        slots = self._slots
        if self._initialize is not None:
            self._call(context, self._initialize)
        slots[0].i32 = length = len(payload)
        self._call(context, self._alloc)
        pointer = slots[0].i32 & 0xFFFFFFFF
        if pointer == 0 or pointer + length > self._find_memory(context):
            raise MemoryError
        ctypes.memmove(self._base(context) + pointer, payload, length)
        slots[0].i32, slots[1].i32 = pointer, length
        self._call(context, self._handle)
        return self._output(context, slots[0].i64 & (2**64 - 1), limits)

    def memory_grown(self, store: wasmtime.Store) -> int:
        """See `Guest`."""
        size_bytes = self._find_memory(store._context()) if self._alive else 0
        return size_bytes if size_bytes > self._least_bytes else 0

    def _instantiate(self, context: _Context) -> None:
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        error = ffi.wasmtime_instance_pre_instantiate(self._pre.ptr(), context, byref(self._instance), byref(trap))
        _raise_any(error, trap)
        self._alive = True

    def _call(self, context: _Context, place: int) -> None:
        self._find(context, place, self._export)
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        error = ffi.wasmtime_func_call_unchecked(context, byref(self._export.of.func), self._slots, 2, byref(trap))
        _raise_any(error, trap)

    def _find(self, context: _Context, place: int, into: ffi.wasmtime_extern_t) -> None:
        ffi.wasmtime_instance_export_nth(
            context, byref(self._instance), place, byref(self._name), byref(self._name_length), byref(into)
        )

    def _find_memory(self, context: _Context) -> int:
        self._find(context, self._memory_at, self._memory)
        return ffi.wasmtime_memory_data_size(context, byref(self._memory.of.memory))

    def _base(self, context: _Context) -> int:
        # Asked anew after every call: a memory that grew may have moved.
        return ctypes.addressof(ffi.wasmtime_memory_data(context, byref(self._memory.of.memory)).contents)

    def _output(self, context: _Context, packed: int, limits: Limits) -> bytes:
        pointer, length = (packed & ~ERROR_BIT) >> 32, packed & 0xFFFFFFFF
        if pointer + length > ffi.wasmtime_memory_data_size(context, byref(self._memory.of.memory)):
            raise GuestFailed("answered with bytes outside of its memory")
        if length > limits.output_bytes:
            raise OutputOverflow
        output = ctypes.string_at(self._base(context) + pointer, length)
        if packed & ERROR_BIT:
            raise GuestFailed(output.decode(errors="replace"))
        return output


def _raise_any(error: "ctypes._Pointer[ffi.wasmtime_error_t]", trap: "ctypes._Pointer[ffi.wasm_trap_t]") -> None:
    if error:
        raise wasmtime.WasmtimeError._from_ptr(error)
    if trap:
        raise wasmtime.Trap._from_ptr(trap)
