"""Many deadlines on one timer."""

import asyncio
from collections.abc import Callable

import pytest

from bus.deadlines import Deadlines, Limit


async def test_each_key_is_late_at_its_own_time() -> None:
    late: list[str] = []
    deadlines = Deadlines(late.append)
    for key, delay_s in (("third", 0.012), ("first", 0.001), ("second", 0.006)):
        deadlines.add(key, delay_s)
    assert late == []
    await _until(lambda: len(late) == 3)
    assert late == ["first", "second", "third"]
    assert not deadlines.drop("first")


async def test_a_dropped_key_is_never_late_and_the_others_still_are() -> None:
    late: list[str] = []
    deadlines = Deadlines(late.append)
    deadlines.add("answered", 0.001)
    deadlines.add("silent", 0.004)
    assert deadlines.drop("answered")
    await _until(lambda: late)
    assert late == ["silent"]


async def test_a_key_that_is_added_by_the_late_callback_has_its_turn() -> None:
    late: list[str] = []

    def again(key: str) -> None:
        late.append(key)
        if key == "one":
            deadlines.add("two", 0.002)

    deadlines = Deadlines(again)
    deadlines.add("one", 0.001)
    await _until(lambda: len(late) == 2)
    assert late == ["one", "two"]


async def test_what_takes_longer_than_its_limit_raises_timeout_error() -> None:
    deadlines = Deadlines(Limit.expire)
    with pytest.raises(TimeoutError), Limit(deadlines, 0.001):
        await asyncio.Event().wait()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_limit_that_held_leaves_no_trace() -> None:
    deadlines = Deadlines(Limit.expire)
    with Limit(deadlines, 0.001):
        pass
    await asyncio.sleep(0.004)


async def test_a_cancellation_that_is_not_the_limits_passes_through() -> None:
    async def work(deadlines: Deadlines[Limit]) -> None:
        with Limit(deadlines, 60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work(Deadlines(Limit.expire)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_task_can_still_limit_its_clean_up() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with pytest.raises(TimeoutError), Limit(Deadlines(Limit.expire), 0.001):
                await asyncio.Event().wait()
            cleaned.set()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()


async def _until(happened: Callable[[], object]) -> None:
    for _ in range(1000):
        if happened():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never happened")
