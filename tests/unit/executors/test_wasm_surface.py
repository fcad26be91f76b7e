"""What importing the executor costs and offers."""

import subprocess
import sys

import pytest

import executors.wasm
from executors.wasm.pool import CellPool


def test_every_public_name_resolves() -> None:
    for name in executors.wasm.__all__:
        assert getattr(executors.wasm, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = executors.wasm.nothing


def test_the_parent_never_imports_the_engine() -> None:
    code = "import sys; from executors.wasm import Sandbox; sys.exit('wasmtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_pool_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CellPool(0)
