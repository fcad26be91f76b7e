"""The real servers, once per test session. A server that cannot start fails the tests that need it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import ServerInfo, down, up

CACHE = Path(__file__).parents[1] / "var" / "cache"


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
        down(data_dir)


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
