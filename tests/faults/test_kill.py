"""`kill -9` of each process in the middle of 500 tasks: nothing is lost, doubled, reordered or billed twice.

The log, its copy in Kafka and the ledger are read with the servers' own clients and compared by `checker`, which
shares no code with AION and is itself tested by planting defects (`test_checker.py`).
"""

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from checker.check import check
from harness.cluster import Cluster, cluster
from harness.trial import Trial, run_trial

CACHE = Path(__file__).parents[2] / "var" / "cache"
TASKS = 500
DOWN_S = 0.5
REST_S = 30.0

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(server_folder: Path) -> AsyncIterator[Cluster]:
    async with cluster(server_folder / "faults", CACHE) as made:
        yield made


@pytest.mark.timeout(150)
@pytest.mark.parametrize("victim", ["router", "wasm", "kafka", "ledger", "sweeper", "server:nats"])
async def test_a_kill_in_the_middle_of_500_tasks_loses_and_doubles_nothing(installation: Cluster, victim: str) -> None:
    trial = await run_trial(installation, victim, f"kill-{victim}", count=TASKS, down_s=DOWN_S, rest_s=REST_S)
    verdict = check(trial.history)
    sys.stdout.write(f"{victim}: {figures(trial)}\n")  # shown by -rP
    logs = installation.actors.tails()
    assert verdict.outcome == "valid", f"{verdict.report()}\n{figures(trial)}\n{logs}"
    assert len({s.ref for s in trial.history.submissions if s.kind == "ok"}) == TASKS, figures(trial)
    assert trial.open_at_kill > 0, f"nothing was open when {victim} was killed: {figures(trial)}"
    assert installation.actors.dead() == [], logs
    assert installation.actors.orphans() == [], f"children of a killed {victim} run on"
    assert_it_could_have_failed(trial)


def assert_it_could_have_failed(trial: Trial) -> None:
    """The same history with one record twice, and with one record less, is refused: the reading is not blind."""
    history = trial.history
    middle = len(history.kafka) // 2
    record = history.kafka[middle]
    doubled = replace(history, kafka=[*history.kafka, record._replace(offset=record.offset + 1_000_000)])
    assert set(check(doubled).rules) == {"kafka_duplicate"}
    gap = replace(history, kafka=[*history.kafka[:middle], *history.kafka[middle + 1 :]])
    assert set(check(gap).rules) == {"kafka_skipped"}
    unpaid = replace(history, usage=history.usage[1:])
    assert set(check(unpaid).rules) == {"not_billed"}


def figures(trial: Trial) -> str:
    """What the trial met, for a person."""
    kinds = [s.kind for s in trial.history.submissions]
    return (
        f"{trial.open_at_kill} tasks open at the kill, it served again after {trial.healed_ms - trial.killed_ms} ms, "
        f"{trial.stored_while_down} events stored meanwhile, "
        f"{len(trial.history.log)} events, {len(trial.history.kafka)} records, answers: {kinds.count('ok')} ok, "
        f"{kinds.count('info')} open, {kinds.count('fail')} refused; rest after {trial.rested_after_s:.1f} s"
    )
