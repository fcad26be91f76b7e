"""What a soak calls a leak, and what it does not."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.soak.bounds import bound_of
from benchmarks.soak.judge import HOUR_S, Bound, Kind, Series, Trend, judge, second_half, theil_sen
from benchmarks.soak.logs import Logs
from benchmarks.soak.resources import CHILDREN, held, of

RATE = 200.0
EVERY_S = 5.0


def sampled(kind: Kind, subject: str, at: Callable[[float], float], minutes: float = 10.0) -> Series:
    """A figure looked at as often as a run does."""
    return Series(kind, subject, [(n * EVERY_S, at(n * EVERY_S)) for n in range(int(minutes * 60 / EVERY_S))])


def judged(kind: Kind, subject: str, at: Callable[[float], float], minutes: float = 10.0) -> Trend:
    return judge(sampled(kind, subject, at, minutes), bound_of(kind, subject, RATE))


def noise(amount: float, seed: int = 1) -> Callable[[float], float]:
    rng = random.Random(seed)
    return lambda _: rng.uniform(-amount, amount)


def test_the_slope_is_that_of_the_line_in_spite_of_outliers() -> None:
    points = [(float(at), 3.0 + 0.5 * at + (1000.0 if at % 5 == 0 else 0.0)) for at in range(60)]
    assert theil_sen(points) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 9.0)]])
def test_without_a_span_of_time_there_is_no_slope(points: list[tuple[float, float]]) -> None:
    assert theil_sen(points) == 0.0


def test_only_the_second_half_is_judged() -> None:
    warming = judged("rss", "edge", lambda at: 50 + min(at, 290) / 10)
    assert not warming.grows
    assert (warming.first, warming.last, warming.most, warming.slope) == (79.0, 79.0, 79.0, 0.0)
    assert [at for at, _ in second_half([(0.0, 1.0), (10.0, 1.0), (20.0, 1.0)])] == [10.0, 20.0]


@pytest.mark.parametrize("seed", range(20))
def test_a_planted_leak_of_memory_is_found_and_its_noise_alone_is_not(seed: int) -> None:
    """A kilobyte a task at 200/s is 700 MiB an hour; 30 MiB an hour is forty bytes a task."""
    swing = noise(0.4, seed)
    assert judged("rss", "edge", lambda at: 80 + 30 * at / HOUR_S + swing(at)).grows
    assert not judged("rss", "edge", lambda at: 80 + swing(at)).grows


def test_the_longer_the_run_the_smaller_the_leak_that_is_found() -> None:
    leak = 10.0
    assert not judged("rss", "router", lambda at: 60 + leak * at / HOUR_S, minutes=10).grows
    assert judged("rss", "router", lambda at: 60 + leak * at / HOUR_S, minutes=30).grows


def test_a_collector_that_saws_is_no_leak_and_one_whose_troughs_rise_is() -> None:
    def saw(at: float) -> float:
        return 40 + at % 35 / 4

    assert not judged("rss", "nats server", saw).grows
    assert judged("rss", "nats server", lambda at: saw(at) + 400 * at / HOUR_S).grows


def test_descriptors_that_are_never_closed_are_found() -> None:
    assert judged("fds", "edge", lambda at: 300 + at // 20).grows
    assert not judged("fds", "edge", lambda at: 300 + at // 5 % 3).grows
    workers = "postgres server" + CHILDREN
    assert judged("fds", workers, lambda at: 200 + at // 2).grows
    assert not judged("fds", workers, lambda at: 200 + 60 * (at // 15 % 4 == 0)).grows


def test_a_stream_that_is_not_trimmed_is_found() -> None:
    kept = 100.0
    wobble = noise(400)
    assert judged("messages", "LOG", lambda at: 3 * RATE * at).grows
    assert not judged("messages", "LOG", lambda at: 3 * RATE * min(at, kept) + wobble(at)).grows


def test_a_consumer_that_falls_behind_is_found() -> None:
    assert judged("pending", "ROUTER", lambda at: 4 + at).grows
    assert not judged("pending", "ROUTER", lambda at: 30 * (at // 5 % 2)).grows
    assert judged("lag", "kafka", lambda at: 60 + 5 * at).grows
    assert not judged("lag", "kafka", lambda at: 60 * (at // 5 % 3)).grows


def test_what_is_bounded_by_construction_may_fill_and_no_more() -> None:
    """Kafka's virtual machine collects all of its heap only once it is full."""
    assert not judged("rss", "kafka server", lambda at: 200.0 + at / 10).grows
    assert judged("rss", "kafka server", lambda at: 380.0 + at / 10).grows


def test_a_run_too_short_to_judge_says_so() -> None:
    with pytest.raises(ValueError, match="let it run longer"):
        judged("rss", "edge", lambda at: 1.0, minutes=1)


def test_the_bound_is_a_rate_or_what_noise_makes_of_it() -> None:
    bound = Bound(per_hour=8.0, noise=1.0, share=0.1)
    assert bound.most_per_hour(0.0, HOUR_S) == 8.0
    assert bound.most_per_hour(0.0, 60.0) == 60.0
    assert bound.most_per_hour(100.0, HOUR_S) == 11.0
    assert bound_of("rss", "wasm" + CHILDREN, RATE) == bound_of("rss", "wasm", RATE)
    assert bound_of("rss", "kafka server", RATE) != bound_of("rss", "kafka", RATE)


def test_complaints_are_found_once_and_half_a_line_is_left_for_later(tmp_path: Path) -> None:
    log = tmp_path / "edge.log"
    lines = [
        json.dumps({"event": "actor_started", "level": "info"}),
        json.dumps({"event": "projection_restarts", "level": "warning"}),
        json.dumps({"event": "request_failed", "level": "error"}),
        "Future exception was never retrieved",
        "Task was destroyed but it is pending!",
    ]
    half = 'Traceback (most recent call last):\n  File "x", li'
    logs = Logs(tmp_path)
    log.write_text("\n".join(lines) + "\n" + half)
    logs.read_on()
    logs.read_on()
    assert logs.complaints == {"edge": 4}
    assert logs.events == {"edge actor_started": 1, "edge projection_restarts": 1, "edge request_failed": 1}
    log.write_text("\n".join(lines) + "\n" + half + "ne 3 never awaited\n")
    logs.read_on()
    assert logs.complaints == {"edge": 5}
    assert "request_failed" in logs.examples[0]


def test_a_process_and_its_children_are_held_apart() -> None:
    sleeping = (sys.executable, "-c", "import sys; sys.stdout.write('up'); sys.stdout.flush(); sys.stdin.read()")
    child = subprocess.Popen(sleeping, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.read(2) == b"up"
        own, below = held({"me": os.getpid()}).values()
        alone = of(child.pid)
        child.stdin.close()
    assert own.rss_mib > 1
    assert own.fds >= 3
    assert own.threads >= 1
    assert below.rss_mib >= alone.rss_mib > 1
    with pytest.raises(OSError, match=str(child.pid)):
        of(child.pid)
