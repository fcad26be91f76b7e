"""Deadlines, also where a cancellation came first."""

import asyncio

import pytest

from bus.waiting import timeout, wait_at_most


async def test_a_block_that_takes_too_long_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError):
        async with timeout(0) as limit:
            await asyncio.Event().wait()
    assert limit.expired()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_block_that_ends_in_time_leaves_no_trace() -> None:
    async with timeout(0.001) as limit:
        await asyncio.sleep(0)
    await asyncio.sleep(0.005)
    assert not limit.expired()


async def test_a_cancelled_task_can_still_give_its_clean_up_a_deadline() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with pytest.raises(TimeoutError):
                async with timeout(0):
                    await asyncio.Event().wait()
            cleaned.set()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()


async def test_a_cancellation_from_outside_passes_through() -> None:
    async def work() -> None:
        async with timeout(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_waiting_at_most_says_whether_it_happened() -> None:
    event = asyncio.Event()
    assert not await wait_at_most(event, 0)
    event.set()
    assert await wait_at_most(event, 0)
