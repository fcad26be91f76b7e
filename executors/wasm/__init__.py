"""The WASM executor's sandbox: verified packages, run in killable cells, a fresh instance per request.

Names load on first use, so that a cell (a child process of this package) imports no more than it needs.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executors.wasm.manifest import parse_manifest
    from executors.wasm.pool import CellPool
    from executors.wasm.request import Output
    from executors.wasm.sandbox import Answer, Sandbox
    from executors.wasm.store import InstalledPackage, RefusedPackage

__all__ = ["Answer", "CellPool", "InstalledPackage", "Output", "RefusedPackage", "Sandbox", "parse_manifest"]

_HOMES = {
    "Answer": "sandbox",
    "CellPool": "pool",
    "InstalledPackage": "store",
    "Output": "request",
    "RefusedPackage": "store",
    "Sandbox": "sandbox",
    "parse_manifest": "manifest",
}


def __getattr__(name: str) -> Any:
    """The public name, imported from its file (PEP 562)."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
