"""When a cell starts an instance in advance, with a guest in place of a module."""

from collections.abc import Callable

import pytest

from executors.wasm import loaded
from executors.wasm.frames import Limits, Run, Verdict
from executors.wasm.guest import GuestFailed, Instance
from executors.wasm.loaded import PREPARE_S, QUICK_S, LoadedGuest
from executors.wasm.ticker import EpochTicker

LIMITS = Limits(timeout_us=1_000_000, memory_bytes=2**20, output_bytes=100)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def perf_counter_ns(self) -> int:
        return int(self.now_s * 1e9)

    def thread_time_ns(self) -> int:
        return 0


class FakeInstance:
    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        self.started = self.called = self.closed = 0

    def set_epoch_deadline(self, ticks_after_current: int) -> None:
        assert ticks_after_current == 1

    def start(self) -> None:
        self.started += 1
        self._start()

    def call(self, payload: bytes) -> bytes:
        self.called += 1
        if payload == b"fail":
            raise GuestFailed("no")
        return payload

    def fuel_left(self) -> int:
        return 0

    def memory_grown(self) -> int:
        return 0

    def close(self) -> None:
        self.closed += 1


class FakeGuest:
    """Its instances take `start_s` to start, or fail."""

    def __init__(self, clock: Clock) -> None:
        self.made: list[FakeInstance] = []
        self.start_s = 0.0
        self.broken = False
        self.may_sleep = False
        self._clock = clock

    def open(self, limits: Limits) -> Instance:
        self.made.append(FakeInstance(self._start))
        return self.made[-1]

    def _start(self) -> None:
        self._clock.now_s += self.start_s
        if self.broken:
            raise GuestFailed("does not start")


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> FakeGuest:
    clock = Clock()
    monkeypatch.setattr(loaded, "time", clock)
    return FakeGuest(clock)


def request(payload: bytes = b"{}", limits: Limits = LIMITS) -> Run:
    return Run("reactor", bytes(32), 0, limits, payload)


def answer(loaded_guest: LoadedGuest, run: Run) -> Verdict:
    verdict = loaded_guest.run(run, LIMITS.timeout_us).verdict
    loaded_guest.clear()
    return verdict


def test_every_request_gets_an_instance_that_nobody_had_before(guest: FakeGuest) -> None:
    subject = LoadedGuest(guest, EpochTicker())
    for payload in (b"{}", b"fail", b"{}", b"{}"):
        answer(subject, request(payload))
        subject.prepare(LIMITS)
    assert [(one.started, one.called, one.closed) for one in guest.made] == [(1, 1, 1)] * 4 + [(1, 0, 0)]


def test_what_was_prepared_is_not_used_under_other_limits(guest: FakeGuest) -> None:
    subject = LoadedGuest(guest, EpochTicker())
    answer(subject, request())
    assert subject.prepare(LIMITS)
    answer(subject, request(limits=LIMITS._replace(memory_bytes=2**19)))
    assert [(one.called, one.closed) for one in guest.made] == [(1, 1), (0, 1), (1, 1)]


def test_a_guest_that_starts_slowly_is_not_started_in_advance(guest: FakeGuest) -> None:
    subject = LoadedGuest(guest, EpochTicker())
    guest.start_s = QUICK_S * 2
    answer(subject, request())
    assert not subject.prepare(LIMITS)
    guest.start_s = QUICK_S / 2
    answer(subject, request())
    assert subject.prepare(LIMITS)


def test_a_start_in_advance_that_fails_is_tried_again_by_the_next_request_alone(guest: FakeGuest) -> None:
    subject = LoadedGuest(guest, EpochTicker())
    answer(subject, request())
    guest.broken = True
    assert not subject.prepare(LIMITS)
    assert guest.made[-1].closed == 1
    assert not subject.prepare(LIMITS)
    assert answer(subject, request()) is Verdict.TRAP
    guest.broken = False
    assert answer(subject, request()) is Verdict.OK


def test_what_cannot_be_interrupted_or_once_failed_is_not_started_in_advance(guest: FakeGuest) -> None:
    guest.may_sleep = True
    sleeper = LoadedGuest(guest, EpochTicker())
    answer(sleeper, request())
    assert not sleeper.prepare(LIMITS)
    guest.may_sleep, subject = False, LoadedGuest(guest, EpochTicker())
    answer(subject, request())
    guest.broken = True
    assert not subject.prepare(LIMITS)
    guest.broken = False
    answer(subject, request())
    assert not subject.prepare(LIMITS)


def test_a_start_in_advance_has_little_time(guest: FakeGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[float] = []
    ticker = EpochTicker()
    monkeypatch.setattr(ticker, "arm", lambda _, timeout_s: allowed.append(timeout_s))
    subject = LoadedGuest(guest, ticker)
    answer(subject, request())
    assert subject.prepare(LIMITS)
    assert allowed == [1.0, PREPARE_S]


def test_what_was_prepared_can_be_discarded(guest: FakeGuest) -> None:
    subject = LoadedGuest(guest, EpochTicker())
    answer(subject, request())
    subject.prepare(LIMITS)
    subject.discard()
    subject.discard()
    assert guest.made[-1].closed == 1
    assert answer(subject, request()) is Verdict.OK
