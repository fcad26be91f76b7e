"""Downloads that several installations share: whole or not there, and made once."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.cache import installed


def test_of_several_that_come_at_once_one_installs_and_all_find_it_whole(tmp_path: Path) -> None:
    calls = []

    def install(target: Path) -> None:
        calls.append(target)
        target.mkdir()
        time.sleep(0.05)
        (target / "jar").write_text("whole")

    def come(_: int) -> str:
        return (installed(tmp_path / "cache", "jars", install) / "jar").read_text()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(come, range(4))) == ["whole"] * 4
    assert len(calls) == 1


def test_an_install_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        target.mkdir()
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        installed(tmp_path, "jars", fail)
    assert not (tmp_path / "jars").exists()
    assert installed(tmp_path, "jars", Path.mkdir).is_dir()
