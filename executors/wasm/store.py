"""Load agent packages from a folder: digest first, then the manifest's schemas, then compilation."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from executors.wasm.artifacts import ArtifactCache
from executors.wasm.contract import Contract
from executors.wasm.manifest import MAX_MANIFEST_BYTES, parse_manifest
from schemas.errors import AionError, PackageInvalid
from schemas.package import AgentPackage

MAX_MODULE_BYTES = 32 * 1024 * 1024
MANIFEST_NAME = "package.yaml"


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package that may run: verified, compiled and checked."""

    manifest: AgentPackage
    key: bytes
    artifact: Path
    contract: Contract = field(repr=False)

    @property
    def name(self) -> str:
        """The package's name."""
        return self.manifest.metadata.name

    @property
    def metered(self) -> bool:
        """Whether its fuel is limited, and so counted."""
        return self.manifest.spec.limits.fuel is not None

    @property
    def intents(self) -> tuple[str, ...]:
        """The intents it answers."""
        return self.manifest.spec.intents


@dataclass(frozen=True, slots=True)
class RefusedPackage:
    """A folder that holds no package fit to run, and why."""

    folder: str
    error: AionError


@dataclass(frozen=True, slots=True)
class LoadedPackages:
    """What a folder gave: packages by name, and the refused ones."""

    packages: dict[str, InstalledPackage]
    refused: tuple[RefusedPackage, ...]


async def load_packages(folder: Path, cache: ArtifactCache) -> LoadedPackages:
    """Every package in the subfolders of `folder`, in name order; a broken one never keeps the others out."""
    cache.open()
    packages: dict[str, InstalledPackage] = {}
    refused: list[RefusedPackage] = []
    for path in await asyncio.to_thread(_subfolders, folder):
        try:
            package = await load_package(path, cache)
            if package.name in packages:
                raise PackageInvalid(f"the name {package.name!r} is taken by another folder: rename one of them")
            packages[package.name] = package
        except AionError as error:
            refused.append(RefusedPackage(path.name, error))
    return LoadedPackages(packages, tuple(refused))


async def load_package(folder: Path, cache: ArtifactCache) -> InstalledPackage:
    """The package in one folder; `PackageInvalid` for a manifest, digest, size, schema or module that will not do."""
    manifest, wasm = await asyncio.to_thread(_read, folder)
    entry = manifest.spec.entry
    contract = Contract(manifest)
    metered = manifest.spec.limits.fuel is not None
    artifact = await cache.get(entry.digest, entry.abi, wasm, metered=metered)
    return InstalledPackage(manifest, cache.key(entry.digest, entry.abi, metered=metered), artifact, contract)


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise PackageInvalid(f"package folder {folder} does not exist: create it or build packages into it")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read(folder: Path) -> tuple[AgentPackage, bytes]:
    manifest = parse_manifest(_read_capped(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES))
    entry = manifest.spec.entry
    wasm = _read_capped(folder / entry.module, MAX_MODULE_BYTES)
    actual = f"sha256:{hashlib.sha256(wasm).hexdigest()}"
    if actual != entry.digest:
        raise PackageInvalid(f"{entry.module} has digest {actual}, the manifest says {entry.digest}: reinstall it")
    return manifest, wasm


def _read_capped(path: Path, limit: int) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise PackageInvalid(f"{path.name} is missing or not a regular file in {path.parent.name}")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise PackageInvalid(f"{path.name} of {path.parent.name} cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise PackageInvalid(f"{path.name} of {path.parent.name} is over the {limit} bytes allowed")
    return content
