"""What a tenant has open at an edge: counted by name, until its end or its deadline."""

import pytest
from story import NOW_MS, Story

from edge.tasks.open_tasks import GRACE_MS, OpenTasks
from schemas.errors import TooManyRequests
from schemas.ids import TaskId, TenantId

ACME, OTHER = TenantId("acme"), TenantId("other")
DEADLINE_MS = NOW_MS + 60_000


class Clock:
    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_tasks(clock: Clock) -> OpenTasks:
    return OpenTasks(2, clock)


def test_a_tenant_with_as_many_as_it_may_is_refused_and_another_is_not(open_tasks: OpenTasks) -> None:
    story = Story()
    for name in ("t1", "t2"):
        open_tasks.check(ACME)
        assert open_tasks.add(story.accepted(name))
    with pytest.raises(TooManyRequests, match="2 tasks of this tenant") as refused:
        open_tasks.check(ACME)
    assert refused.value.retry_after_s
    open_tasks.check(OTHER)


def test_an_end_makes_room_once_however_often_it_is_heard(open_tasks: OpenTasks) -> None:
    story = Story()
    for name in ("t1", "t2"):
        open_tasks.add(story.accepted(name))
    for _ in range(2):
        open_tasks.ended(ACME, TaskId("t1"), b"{}")
    assert open_tasks.of(ACME) == 1
    open_tasks.check(ACME)


def test_ends_of_others_count_for_nothing(open_tasks: OpenTasks) -> None:
    open_tasks.add(Story().accepted("t1"))
    open_tasks.ended(TenantId("other"), TaskId("t1"), b"{}")
    open_tasks.ended(ACME, TaskId("t2"), b"{}")
    assert open_tasks.of(ACME) == 1


def test_a_repeat_of_an_open_task_is_counted_once(open_tasks: OpenTasks) -> None:
    event = Story().accepted("t1")
    assert open_tasks.add(event)
    assert not open_tasks.add(event)
    assert open_tasks.of(ACME) == 1


def test_an_end_that_was_never_heard_counts_until_the_deadline_and_the_sweepers_grace(
    open_tasks: OpenTasks, clock: Clock
) -> None:
    story = Story()
    for name in ("t1", "t2"):
        open_tasks.add(story.accepted(name))
    clock.now_ms = DEADLINE_MS + GRACE_MS
    with pytest.raises(TooManyRequests):
        open_tasks.check(ACME)
    clock.now_ms += 1
    open_tasks.check(ACME)
    assert open_tasks.of(ACME) == 0
