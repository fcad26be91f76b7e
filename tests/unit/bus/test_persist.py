"""An append whose outcome is unknown is asked again; one whose outcome is known never is."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from bus import persist as persisting
from bus.persist import RETRY_AFTER_S, persist
from bus.port import Log
from schemas.errors import AionError, BusDisconnected, LogFull, PayloadTooLarge, Unavailable, WrongSequence
from schemas.events import Accepted


class ScriptedLog:
    """Answers each append with the next outcome, the last one for ever."""

    def __init__(self, outcomes: Sequence[int | AionError]) -> None:
        self._outcomes = outcomes
        self.timeouts_s: list[float] = []

    async def append(self, event: Any, *, after: int, timeout_s: float) -> int:
        outcome = self._outcomes[min(len(self.timeouts_s), len(self._outcomes) - 1)]
        self.timeouts_s.append(timeout_s)
        if isinstance(outcome, AionError):
            raise outcome
        return outcome


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persisting, "PAUSE_S", 0.0)


async def stored(log: ScriptedLog, event: Accepted, give_up_s: float = 30.0) -> int:
    return await persist(cast(Log, log), event, after=0, give_up_s=give_up_s)


async def test_an_unknown_outcome_is_asked_again_until_it_is_known(accepted: Accepted) -> None:
    log = ScriptedLog([Unavailable("no acknowledgement"), BusDisconnected("away"), 7])
    assert await stored(log, accepted) == 7
    assert len(log.timeouts_s) == 3


async def test_a_full_log_is_said_at_once_with_when_to_come_back(accepted: Accepted) -> None:
    log = ScriptedLog([LogFull("8 GiB are stored"), 7])
    with pytest.raises(LogFull, match="8 GiB") as caught:
        await stored(log, accepted)
    assert (caught.value.retry_after_s, len(log.timeouts_s)) == (RETRY_AFTER_S, 1)


@pytest.mark.parametrize("refusal", [WrongSequence("4 came first"), PayloadTooLarge("2 MB")])
async def test_a_refusal_is_final(accepted: Accepted, refusal: AionError) -> None:
    log = ScriptedLog([refusal, 7])
    with pytest.raises(type(refusal)):
        await stored(log, accepted)
    assert len(log.timeouts_s) == 1


async def test_out_of_time_the_answer_is_unknown_and_says_when_to_come_back(accepted: Accepted) -> None:
    log = ScriptedLog([BusDisconnected("away")])
    with pytest.raises(Unavailable, match="did not confirm") as caught:
        await stored(log, accepted, give_up_s=0.0)
    assert caught.value.retry_after_s == RETRY_AFTER_S
    assert isinstance(caught.value.__cause__, BusDisconnected)


@pytest.mark.parametrize(("give_up_s", "attempt_s"), [(0.0, 0.05), (3.0, 1.0), (600.0, 5.0)])
async def test_one_attempt_leaves_time_for_another(accepted: Accepted, give_up_s: float, attempt_s: float) -> None:
    log = ScriptedLog([7])
    await stored(log, accepted, give_up_s)
    assert log.timeouts_s == [attempt_s]
