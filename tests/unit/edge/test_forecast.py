"""How long a task would wait, and when that is not known."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from edge.tasks.admission import LATEST_RETRY_S, Admission
from edge.tasks.bulkhead import Bulkhead
from edge.tasks.forecast import BUSY, STALE_S, Forecast
from schemas.errors import Overloaded, TooManyRequests
from schemas.ids import TenantId
from schemas.task import Priority

A, B = TenantId("a"), TenantId("b")


def test_the_wait_is_what_is_under_way_over_how_fast_tasks_end() -> None:
    forecast = Forecast()
    forecast.look(400, 1000, 1.0)
    assert forecast.wait_s(1000) == 0.0, "one look says nothing"
    forecast.look(500, 1200, 2.0)
    assert forecast.rate == 200
    assert forecast.wait_s(1200) == 2.5
    for _ in range(100):
        forecast.took()
    assert forecast.wait_s(1300) == 2.5
    assert forecast.wait_s(1800) == 0.0


def test_an_idle_system_says_nothing_of_what_it_could_do() -> None:
    forecast = Forecast()
    forecast.look(1, 0, 0.0)
    forecast.look(2, 10, 1.0)
    assert forecast.rate is None
    for _ in range(1000):
        forecast.took()
    assert forecast.wait_s(10) == 0.0, "a burst on an idle system is no reason to refuse"


def test_what_was_learned_is_forgotten_once_it_is_old() -> None:
    forecast = Forecast()
    forecast.look(BUSY, 0, 0.0)
    forecast.look(BUSY, 100, 1.0)
    forecast.look(0, 200, 2.0)
    assert forecast.rate == 100
    forecast.look(0, 200, 2.0 + STALE_S)
    assert forecast.rate is None


def test_nobody_works_so_nothing_is_known() -> None:
    forecast = Forecast()
    forecast.look(BUSY, 0, 0.0)
    forecast.look(BUSY, 0, 1.0)
    assert forecast.wait_s(0) == 0.0


async def test_a_task_whose_time_would_pass_is_refused_with_when_to_come_back() -> None:
    ended, backlog = 0, 400

    async def look_backlog() -> int:
        return backlog

    async def look_info() -> Any:
        return SimpleNamespace(max_bytes=None, size_bytes=0)

    bus = SimpleNamespace(
        connected=True, queue=SimpleNamespace(backlog=look_backlog), log=SimpleNamespace(info=look_info)
    )
    log = SimpleNamespace(warning=lambda *_, **__: None)
    context: Any = SimpleNamespace(bus=bus, log=log, rng=SimpleNamespace(uniform=lambda least, _: least))
    admission = Admission(context, 10_000, lambda: ended)
    await admission.look()
    await asyncio.sleep(0.02)
    ended = 4
    await admission.look()  # some 200 a second end, so 400 take two seconds
    admission.check_time(Priority.NORMAL, 60.0)
    admission.check_time(Priority.HIGH, 0.1)
    with pytest.raises(Overloaded, match="it would wait about") as refused:
        admission.check_time(Priority.NORMAL, 0.1)
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1
    assert admission.refused_for_time == 1
    backlog = 10_000 - 1
    for _ in range(6):  # everything stands still: what it makes of that holds only as long
        await asyncio.sleep(0.01)
        await admission.look()
    with pytest.raises(Overloaded) as refused:
        admission.check_time(Priority.NORMAL, 60.0)
    assert refused.value.retry_after_s == LATEST_RETRY_S


async def test_one_tenant_cannot_take_all_places() -> None:
    bulkhead = Bulkhead("submissions", 8, 0.75)
    for _ in range(6):
        bulkhead.enter(A)
    with pytest.raises(TooManyRequests, match="of this tenant") as refused:
        bulkhead.enter(A)
    assert refused.value.retry_after_s == 1
    bulkhead.enter(B)
    with bulkhead.place(B), pytest.raises(TooManyRequests, match="8 submissions"):
        bulkhead.enter(B)
    for tenant in (A,) * 6 + (B,):
        bulkhead.leave(tenant)
    await bulkhead.empty()
    with Bulkhead("reads", 1, 0.1).place(A):
        pass
