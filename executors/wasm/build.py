"""Build AION's own packages: `python -m executors.wasm.build [--out build/packages] [--only name]`.

Each lands in `<out>/<name>/` with its digest stamped into `package.yaml`. Nothing is rebuilt while sources, recipe and
toolchain are the same.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

SOURCES = Path(__file__).resolve().parent / "packages"
DIGEST_PLACEHOLDER = "STAMPED-BY-BUILD"
STAMP_NAME = ".stamp"
BUILD_TIMEOUT_S = 600
# With half of the usual stack a small request fits into one page of memory, which is cleared after every run.
_C_FLAGS = (
    "--target=wasm32-wasi", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-s", "-Wl,-z,stack-size=32768",
)  # fmt: skip
_C_TEXT = tuple(f"summarize_text/{name}" for name in ("arena.c", "json.h", "json.c", "words.h"))
_C_CORE = (*_C_TEXT, "summarize_text/summarize.h", "summarize_text/summarize.c")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one package is made; `sources` are relative to the packages folder."""

    tool: Literal["ziglang", "componentize-py"]
    sources: tuple[str, ...]
    flags: tuple[str, ...] = ()


RECIPES: dict[str, Recipe] = {
    "embed_text": Recipe(
        "ziglang",
        (*_C_TEXT, "embed_text/embed.h", "embed_text/embed.c", "embed_text/reactor.c"),
        (*_C_FLAGS, "-mexec-model=reactor"),
    ),
    "extract_keywords": Recipe("componentize-py", ("agent.wit", "extract_keywords/app.py"), ("--stub-wasi",)),
    "summarize_stdio": Recipe("ziglang", (*_C_CORE, "summarize_text/command.c"), _C_FLAGS),
    "summarize_text": Recipe("ziglang", (*_C_CORE, "summarize_text/reactor.c"), (*_C_FLAGS, "-mexec-model=reactor")),
}


def build(name: str, out: Path) -> bool:
    """Make `out/name` current; True when something had to be built. `SystemExit` names what is missing or wrong."""
    recipe, target = RECIPES[name], out / name
    stamp = _stamp(name, recipe)
    if _is_current(target, name, stamp):
        return False
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=out) as scratch:
        draft = Path(scratch) / name
        draft.mkdir()
        module = draft / f"{name}.wasm"
        _compile(recipe, module)
        digest = f"sha256:{hashlib.sha256(module.read_bytes()).hexdigest()}"
        manifest = (SOURCES / name / "package.yaml").read_text().replace(DIGEST_PLACEHOLDER, digest)
        (draft / "package.yaml").write_text(manifest)
        (draft / STAMP_NAME).write_text(stamp)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    return True


def compile_c(sources: list[Path], module: Path, *flags: str) -> None:
    """Compile C into a WebAssembly module with the bundled toolchain."""
    _run([sys.executable, "-m", "ziglang", "cc", *flags, "-o", str(module), *map(str, sources)])
    module.chmod(0o644)


def compile_python(wit: Path, app: Path, module: Path, *flags: str) -> None:
    """Compile a Python app for the world `agent` into a component."""
    tool = Path(sysconfig.get_path("scripts")) / "componentize-py"
    with tempfile.TemporaryDirectory() as alone:
        shutil.copy(app, alone)
        world = ["-d", str(wit), "-w", "agent"]
        _run([str(tool), *world, "componentize", *flags, "-p", alone, app.stem, "-o", str(module)])


def _compile(recipe: Recipe, module: Path) -> None:
    paths = [SOURCES / source for source in recipe.sources]
    if recipe.tool == "ziglang":
        compile_c([path for path in paths if path.suffix == ".c"], module, *recipe.flags)
    else:
        compile_python(paths[0], paths[1], module, *recipe.flags)


def _run(command: list[str]) -> None:
    # Without VIRTUAL_ENV nothing but the app itself can be frozen into a component.
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(  # noqa: S603  (our own command line)
        command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, env=environment, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-2000:]}")


def _stamp(name: str, recipe: Recipe) -> str:
    try:
        tool = f"{recipe.tool} {version(recipe.tool)}"
    except PackageNotFoundError as error:
        raise SystemExit(f"{name} needs {recipe.tool}: pip install 'aion[packages]'") from error
    digest = hashlib.sha256("\0".join((tool, *recipe.flags)).encode())
    for source in (f"{name}/package.yaml", *recipe.sources):
        digest.update(hashlib.sha256((SOURCES / source).read_bytes()).digest())
    return digest.hexdigest()


def _is_current(target: Path, name: str, stamp: str) -> bool:
    try:
        return (target / STAMP_NAME).read_text() == stamp and (target / f"{name}.wasm").is_file()
    except OSError:
        return False


def main() -> None:
    """Build what is out of date and say what was done."""
    parser = argparse.ArgumentParser(prog="python -m executors.wasm.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/packages"))
    parser.add_argument("--only", choices=sorted(RECIPES), action="append")
    arguments = parser.parse_args()
    for name in arguments.only or sorted(RECIPES):
        state = "built" if build(name, arguments.out) else "current"
        sys.stdout.write(f"{name}: {state}\n")


if __name__ == "__main__":
    main()
