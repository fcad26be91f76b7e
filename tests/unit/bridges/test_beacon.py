"""What is told of a position: never less than the truth, because the log's window follows it."""

from story import NOW_MS, Story

from actors.runtime.actor import Context
from bridges.beacon import Beacon
from bus.subjects import POSITIONS
from schemas.message import decode
from schemas.registry import ProjectionPosition


async def told(context: Context) -> ProjectionPosition | None:
    found = await context.bus.kv.get(POSITIONS, "fake")
    return decode(found.value, ProjectionPosition) if found else None


async def fill(context: Context, story: Story, count: int) -> None:
    for number in range(count):
        await context.bus.log.append(story.accepted(f"t{number}"), after=0)


async def test_a_projection_that_lags_since_nobody_knows_when_is_not_told_as_being_in_time(
    context: Context, story: Story
) -> None:
    """As after a start over a sink that cannot be written: the position is known, the age of its event is not."""
    await fill(context, story, 6)
    beacon = Beacon("fake", context)
    for sequence in (0, 2):
        beacon.moved(sequence, None)
        await beacon.publish()
        assert await told(context) is None


async def test_the_lag_is_the_age_of_the_event_at_the_position_wherever_it_was_learnt(
    context: Context, story: Story
) -> None:
    await fill(context, story, 6)
    beacon = Beacon("fake", context)
    beacon.moved(2, None)
    beacon.moved(2, (NOW_MS - 7_000) * 1_000_000)
    await beacon.publish()
    position = await told(context)
    assert position is not None
    assert (position.sequence, position.head, position.lag_s) == (2, 6, 7.0)


async def test_a_projection_at_the_end_does_not_lag_whatever_the_age_of_its_event(
    context: Context, story: Story
) -> None:
    await fill(context, story, 2)
    beacon = Beacon("fake", context)
    beacon.moved(2, None)
    await beacon.publish()
    position = await told(context)
    assert position is not None
    assert position.lag_s == 0
