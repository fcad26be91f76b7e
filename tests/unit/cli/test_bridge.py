"""What `aionctl bridge verify` tells of a comparison, which is played here."""

import json

import pytest

from actors.cli import bridge, main
from actors.cli.exits import Exit
from bridges.kafka.verify import VerifyReport


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> VerifyReport:
    """What the comparison finds."""
    found = VerifyReport(1, 3, events=3)
    monkeypatch.setattr(bridge, "visit", lambda *_, **__: found)
    return found


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["indented", "json"])
def test_faults_are_told_each_with_its_count(
    report: VerifyReport, form: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    report.fault("missing", "event 1")
    report.fault("duplicate", "event 2")
    report.fault("duplicate", "event 3")
    assert main(["bridge", "verify", *form]) == Exit.FAILURE
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["events"], told["faults"]) == (False, 3, {"missing": 1, "duplicate": 2})
    assert told["examples"] == ["missing: event 1", "duplicate: event 2", "duplicate: event 3"]


def test_a_comparison_without_a_fault_is_well(report: VerifyReport, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bridge", "verify", "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["first"], told["last"], told["faults"]) == (report.ok, 1, 3, {})
