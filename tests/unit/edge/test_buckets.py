"""The arithmetic of limits: the vectors of 60 a minute with 120 at once, and what no sequence may exceed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.limits.bucket import Bucket, Verdict, judge, level_us
from edge.limits.fields import limit_field, policy_field
from edge.limits.memory import Memory
from edge.limits.settings import LimitsSettings, Rate

SECOND_US = 1_000_000
RATE = Rate(rpm=60, burst=120)


class Clocked:
    """One process's buckets at a time that the test sets."""

    def __init__(self, *, edges: int = 1) -> None:
        self.memory = Memory(100)
        self.edges = edges
        self.now_us = 10**15

    def ask(self, *buckets: Bucket) -> Verdict:
        verdict = judge(buckets, self.memory.levels_us(buckets, self.now_us), edges=self.edges)
        self.memory.note(buckets, verdict.levels_us, self.now_us)
        return verdict

    def admitted(self, times: int, bucket: Bucket) -> int:
        return sum(self.ask(bucket).admitted for _ in range(times))


KEY = Bucket("key", "caller:a", RATE)


def test_a_full_bucket_admits_its_burst_and_says_when_the_next_fits() -> None:
    world = Clocked()
    assert world.admitted(120, KEY) == 120
    refused = world.ask(KEY)
    assert (refused.admitted, refused.retry_after_us) == (False, SECOND_US)
    world.now_us += SECOND_US - 1
    assert not world.ask(KEY).admitted
    world.now_us += 1
    assert world.admitted(2, KEY) == 1
    world.now_us += 60 * SECOND_US
    assert world.admitted(200, KEY) == 60
    world.now_us += 120 * SECOND_US
    assert world.admitted(200, KEY) == 120


def test_a_larger_cost_waits_for_as_many_intervals() -> None:
    world = Clocked()
    world.admitted(120, KEY)
    dear = KEY._replace(cost=5)
    assert world.ask(dear).retry_after_us == 5 * SECOND_US
    world.now_us += 5 * SECOND_US - 1
    assert not world.ask(dear).admitted
    world.now_us += 1
    assert world.ask(dear).admitted


def test_a_clock_that_is_set_back_admits_nothing_more_and_shuts_nobody_out_for_long() -> None:
    world = Clocked()
    world.admitted(120, KEY)
    world.now_us -= 3600 * SECOND_US
    refused = world.ask(KEY)
    assert not refused.admitted
    assert refused.retry_after_us <= 121 * SECOND_US
    assert level_us(world.now_us + 10**12, world.now_us, KEY.tolerance_us) == 2 * KEY.tolerance_us


def test_what_one_bucket_refuses_is_debited_from_none() -> None:
    world = Clocked()
    small = Bucket("route", "route:a", Rate(rpm=60, burst=1))
    assert world.ask(KEY, small).admitted
    for _ in range(50):
        assert not world.ask(KEY, small).admitted
    assert world.admitted(200, KEY) == 119


def test_five_hundred_at_once_and_two_a_second_for_a_minute_admit_180() -> None:
    world = Clocked()
    admitted = world.admitted(500, KEY)
    for _ in range(120):
        world.now_us += SECOND_US // 2
        admitted += world.admitted(1, KEY)
    assert admitted == 180


def test_an_edge_alone_admits_its_share_and_all_together_the_limit() -> None:
    alone = [Clocked(edges=3) for _ in range(3)]
    assert [world.admitted(200, KEY) for world in alone] == [40, 40, 40]
    for world in alone:
        world.now_us += 60 * SECOND_US
    assert [world.admitted(200, KEY) for world in alone] == [20, 20, 20]


def test_a_share_of_less_than_one_is_one() -> None:
    world = Clocked(edges=100)
    assert world.admitted(5, Bucket("key", "caller:a", Rate(rpm=60, burst=2))) == 1


@given(
    st.integers(1, 6000),
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 5 * SECOND_US), st.integers(1, 5)), max_size=60),
)
def test_no_sequence_gets_more_than_burst_and_refill(rpm: int, burst: int, asks: list[tuple[int, int]]) -> None:
    world, rate = Clocked(), Rate(rpm=rpm, burst=burst)
    began_us, spent = world.now_us, 0
    for gap_us, cost in asks:
        world.now_us += gap_us
        bucket = Bucket("key", "k", rate, cost)
        verdict = world.ask(bucket)
        spent += cost * verdict.admitted
        assert spent <= burst + (world.now_us - began_us) / rate.interval_us
        if not verdict.admitted and cost <= burst:
            again = Clocked()
            again.memory, again.now_us = world.memory, world.now_us + verdict.retry_after_us - 1
            assert not judge([bucket], again.memory.levels_us([bucket], again.now_us)).admitted
            assert judge([bucket], again.memory.levels_us([bucket], again.now_us + 1)).admitted


def test_the_least_recently_used_bucket_is_forgotten_first() -> None:
    memory = Memory(2)
    buckets = [Bucket("ip", f"ip:{number}", RATE) for number in range(3)]
    for bucket in (buckets[0], buckets[1], buckets[0], buckets[2]):
        memory.note([bucket], [5], 100)
    assert memory.levels_us(buckets, 100) == (5, 0, 5)


def test_the_fields_tell_the_tightest_bucket_and_agree_with_retry_after() -> None:
    world = Clocked()
    tenant = Bucket("tenant", "tenant:a", Rate(rpm=600, burst=600))
    verdict = world.ask(KEY, tenant)
    assert limit_field(verdict) == '"key";r=119;t=1'
    assert policy_field(verdict.buckets) == ('"key";q=60;w=60;aion-burst=120, "tenant";q=600;w=60;aion-burst=600')
    world.admitted(119, KEY)
    world.now_us += 200_000
    assert limit_field(world.ask(KEY, tenant)) == '"key";r=0;t=1'


def test_a_rate_that_could_never_admit_is_refused() -> None:
    for wrong in ({"rpm": 0, "burst": 1}, {"rpm": 60, "burst": 0}, {"rpm": 60}, {"rpm": 60, "burst": 1, "per": "s"}):
        with pytest.raises(ValueError, match="key"):
            LimitsSettings.model_validate({"key": wrong})
    with pytest.raises(ValueError, match="routes"):
        LimitsSettings.model_validate({"routes": {"/v1/tasks": {"rpm": 1, "burst": 1}}})
    assert not LimitsSettings().wanted
