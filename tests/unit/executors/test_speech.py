"""What a guest says leaves its cell paced, whole and in order, and never waits for a parent that does not read."""

import socket
from collections.abc import Iterator

import pytest

from executors.wasm.frames import Frames, Verdict, decode_reply
from executors.wasm.speech import BURST, GATHER_S, PAUSE_S, Speech


class Stage:
    """A cell's end of a socket, and the parent's."""

    def __init__(self) -> None:
        self.parent, self.cell = socket.socketpair()
        self.parent.setblocking(False)
        self.now_s = 100.0
        self.speech = Speech(self.cell, lambda: self.now_s)
        self._frames = Frames()

    def heard(self) -> list[bytes]:
        while True:
            try:
                self._frames.feed(self.parent.recv(1 << 20))
            except BlockingIOError:
                break
        found = []
        while (body := self._frames.next()) is not None:
            reply = decode_reply(body)
            assert reply.verdict is Verdict.SAID
            found.append(reply.payload)
        return found

    def end(self) -> list[bytes]:
        rest = self.speech.end()
        self._frames.feed(rest)
        return self.heard()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    with stage.parent, stage.cell:
        yield stage


def test_a_short_run_says_it_all_in_its_answer(stage: Stage) -> None:
    stage.speech.begin(100)
    assert stage.speech.say(b"one")
    assert stage.end() == []


def test_a_longer_run_is_heard_at_once_with_what_it_said_before(stage: Stage) -> None:
    stage.speech.begin(100)
    stage.speech.say(b"one ")
    stage.now_s += GATHER_S
    stage.speech.say(b"two ")
    stage.speech.say(b"three ")
    assert stage.heard() == [b"one two ", b"three "]
    assert stage.end() == []


def test_past_a_burst_sayings_share_a_frame_and_the_rest_comes_with_the_end(stage: Stage) -> None:
    stage.speech.begin(1000)
    stage.now_s += GATHER_S
    for _ in range(100):
        stage.speech.say(b"x")
    frames = stage.heard()
    assert 0 <= len(frames) - BURST - round(GATHER_S / PAUSE_S) <= 1
    assert b"".join([*frames, *stage.end()]) == b"x" * 100


def test_no_more_is_taken_than_the_limit_and_nothing_outside_of_a_run(stage: Stage) -> None:
    assert not stage.speech.say(b"x")
    stage.speech.begin(5)
    assert stage.speech.say(b"four")
    assert not stage.speech.say(b"xx")
    assert stage.speech.say(b"x")
    stage.end()
    assert not stage.speech.say(b"x")


def test_a_parent_that_does_not_read_holds_nobody_up_and_gets_it_all_later(stage: Stage) -> None:
    stage.speech.begin(8 << 20)
    stage.now_s += GATHER_S
    for _ in range(64):
        stage.now_s += PAUSE_S
        assert stage.speech.say(b"y" * 65536)
    rest = stage.speech.end()
    early = stage.heard()
    stage._frames.feed(rest)
    assert b"".join([*early, *stage.heard()]) == b"y" * (64 * 65536)


def test_what_one_run_left_is_not_the_next_ones(stage: Stage) -> None:
    stage.speech.begin(100)
    stage.speech.say(b"one")
    stage.speech.end()
    stage.speech.begin(100)
    stage.now_s += GATHER_S
    stage.speech.say(b"two")
    assert stage.heard() == [b"two"]
