"""The calls of wasmtime's C API that every run makes, bound to plain addresses.

The binding's own functions convert a typed pointer for each argument and add a Python frame to each call; together that
is half of a short run. Here an argument is a number, and a pointer that comes back is a number or None. A wrong
number crashes the cell, so `guest_reactor` alone calls these.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_char_p, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

from wasmtime import _ffi as ffi


def _bound(name: str, result: Any, *parameters: Any) -> Callable[..., Any]:
    return ctypes.CFUNCTYPE(result, *parameters)((name, ffi.dll))


Callback = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t)
"""`wasmtime_func_unchecked_callback_t`: environment, caller, values, their number; answers a trap or nothing."""

define_func = _bound(
    "wasmtime_linker_define_func_unchecked", c_void_p, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t,
    c_void_p, Callback, c_void_p, c_void_p,
)  # fmt: skip
store_new = _bound("wasmtime_store_new", c_void_p, c_void_p, c_void_p, c_void_p)
store_context = _bound("wasmtime_store_context", c_void_p, c_void_p)
store_limiter = _bound("wasmtime_store_limiter", None, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64)
store_delete = _bound("wasmtime_store_delete", None, c_void_p)
set_epoch_deadline = _bound("wasmtime_context_set_epoch_deadline", None, c_void_p, c_uint64)
set_fuel = _bound("wasmtime_context_set_fuel", c_void_p, c_void_p, c_uint64)
get_fuel = _bound("wasmtime_context_get_fuel", c_void_p, c_void_p, c_void_p)
set_wasi = _bound("wasmtime_context_set_wasi", c_void_p, c_void_p, c_void_p)
instantiate = _bound("wasmtime_instance_pre_instantiate", c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
export_nth = _bound(
    "wasmtime_instance_export_nth", ctypes.c_bool, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p, c_void_p
)
call_unchecked = _bound("wasmtime_func_call_unchecked", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
memory_size = _bound("wasmtime_memory_data_size", c_size_t, c_void_p, c_void_p)
memory_data = _bound("wasmtime_memory_data", c_void_p, c_void_p, c_void_p)
