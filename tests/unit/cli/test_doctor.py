"""The doctor asks every room at once, and a room that cannot answer is a finding like any other."""

import asyncio
import inspect
import json
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from actors.cli import main
from actors.cli.doctor import GROUP, Examine, examine_all, with_missing
from actors.cli.exits import Exit
from actors.runtime.settings import RedisSettings, Settings
from schemas.errors import Misconfigured
from schemas.finding import Finding

WELL = Finding(name="door", ok=True, found="open")
SETTINGS = Settings({}, {}, {name: lambda: RedisSettings for name in ("one", "two")})


async def well(settings: Any) -> Sequence[Finding]:
    assert isinstance(settings, RedisSettings)
    return [WELL]


async def misconfigured(settings: Any) -> Sequence[Finding]:
    raise Misconfigured("AION_TWO__URL is wrong")


async def hangs(settings: Any) -> Sequence[Finding]:
    await asyncio.Event().wait()
    return []


def not_installed() -> Examine:
    raise ModuleNotFoundError("No module named 'aiokafka'", name="aiokafka")


async def test_every_room_is_asked_with_its_own_settings() -> None:
    assert await examine_all(SETTINGS, {"one": lambda: well, "two": lambda: well}) == [WELL, WELL]


@pytest.mark.parametrize(
    ("load", "told", "fix"),
    [
        (lambda: misconfigured, "AION_TWO__URL is wrong", "AION_TWO_"),
        (lambda: hangs, "no answer within 0 s", "servers status"),
        (not_installed, "needs aiokafka", "pip install"),
    ],
)
async def test_a_room_that_cannot_answer_does_not_silence_the_others(
    monkeypatch: pytest.MonkeyPatch, load: Any, told: str, fix: str
) -> None:
    monkeypatch.setattr("actors.cli.doctor.TIMEOUT_S", 0)
    first, second = await examine_all(SETTINGS, {"one": lambda: well, "two": load})
    assert first == WELL
    assert (second.name, second.ok, second.found) == ("two", False, told)
    assert fix in second.fix


def test_every_section_with_a_server_behind_it_is_examined() -> None:
    assert {found.name for found in entry_points(group=GROUP)} == {"nats", "kafka", "postgres", "redis"}
    for found in entry_points(group=GROUP):
        assert inspect.iscoroutinefunction(found.load())


def test_a_misspelt_setting_is_found_and_nothing_is_asked_by_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AION_NATS__ULR", "x")
    assert main(["doctor", "--json"]) == Exit.FAILURE
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert "did you mean 'url'" in findings["settings"]["found"]
    assert findings.keys() == {"python", "java", "settings", "key"}


def test_an_installed_actor_that_does_not_answer_is_a_fault() -> None:
    names = sorted(entry_points(group="aion.actors").names)
    assert with_missing(Finding(name="actors", ok=True, found=", ".join(names))).ok
    found = with_missing(Finding(name="actors", ok=True, found=", ".join(name for name in names if name != "router")))
    assert (found.ok, found.fix) == (False, "aionctl run router")
