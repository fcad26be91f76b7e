"""The compiler child, `python -m executors.wasm.compiler <abi> <metered> <file> <parent pid>`: module in, artifact out.

A compile bomb takes down this process alone: its CPU time and data are limited here, its wall clock by the parent.
Exit status 2 means that the module was refused; the reason is on stderr.
"""

import os
import resource
import sys

import wasmtime
from wasmtime import component

from executors.wasm import capi
from executors.wasm.confine import confine
from executors.wasm.engine import new_engine
from executors.wasm.engine_settings import kind_of
from executors.wasm.guest import prelink
from executors.wasm.guest_reactor import check_exports, define_emit

MAX_CPU_S = 120
MAX_DATA_BYTES = 4 * 1024**3
REFUSED = 2
_EXPORTS = {"stdio": ("_start",), "reactor": ("memory", "aion_alloc", "aion_handle", "aion_free")}


def compile_module(abi: str, wasm: bytes, *, metered: bool) -> bytes:
    """The AOT artifact; raises `WasmtimeError` for an invalid module, `ValueError` for a missing or mistyped export."""
    engine = new_engine(kind_of(abi, metered=metered))
    if abi == "component":
        built = component.Component(engine, wasm)
        if built.get_export_index("handle") is None:
            raise ValueError("the component does not export 'handle'")
        return bytes(built.serialize())
    module = wasmtime.Module(engine, wasm)
    present = {item.name for item in module.exports}
    missing = [name for name in _EXPORTS[abi] if name not in present]
    if missing:
        raise ValueError(f"the module does not export {', '.join(missing)}, which abi {abi!r} needs")
    if abi == "reactor":
        check_exports(module)
        mute = capi.Callback(lambda *_: None)
        prelink(engine, module, lambda linker: define_emit(linker, mute))
    else:
        prelink(engine, module)
    return bytes(module.serialize())


def main() -> None:
    """Compile stdin into the named file, or exit with `REFUSED`."""
    abi, metered, target, parent_pid = sys.argv[1], sys.argv[2] == "1", sys.argv[3], int(sys.argv[4])
    confine(parent_pid, writable=True)
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
    try:
        artifact = compile_module(abi, sys.stdin.buffer.read(), metered=metered)
    except (wasmtime.WasmtimeError, ValueError) as error:
        sys.stderr.write(" ".join(str(error).split())[:400])
        raise SystemExit(REFUSED) from error
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(artifact)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
