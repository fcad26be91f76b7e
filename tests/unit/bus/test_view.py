"""A view of a bucket over a reader that begins anew in the middle: nothing of it is missing, nothing left over."""

import asyncio
from collections import deque
from typing import cast

import pytest

from bus.nats.kv import _View
from bus.nats.message import Message
from bus.nats.reader import StreamReader
from bus.nats.stored import Delivered
from schemas.errors import Unavailable

PREFIX = "$KV.KEYS."


class Scripted:
    """Hands out what is scripted: keys, or "anew" for a walk that begins again."""

    def __init__(self, *script: list[str] | str) -> None:
        self._script = deque(script)
        self.restarts = 1
        self.each_takes_s = 0.0

    @property
    def pending(self) -> int:
        return len(self._script)

    async def next(self, _timeout_s: float) -> list[Delivered]:
        await asyncio.sleep(self.each_takes_s)
        if self._script and self._script[0] == "anew":
            self._script.popleft()
            self.restarts += 1
        if not self._script:
            return []
        keys = cast(list[str], self._script.popleft())
        return [(number, 0, Message(PREFIX + key, "", key.encode())) for number, key in enumerate(keys, 1)]


def view(*script: list[str] | str) -> _View:
    return _View("KEYS", cast(StreamReader, Scripted(*script)), None)


@pytest.mark.parametrize(
    ("script", "there"),
    [
        ((["a"], ["b"]), {"a", "b"}),
        ((["a"], "anew", ["a", "b"]), {"a", "b"}),
        (("anew", ["a", "b"]), {"a", "b"}),
        ((["a", "gone"], "anew", ["a"], ["b"]), {"a", "b"}),
    ],
)
async def test_a_view_that_is_filled_over_a_restart_holds_what_is_there_and_keeps_it(
    script: tuple[list[str] | str, ...], there: set[str]
) -> None:
    filled = view(*script)
    await filled.fill()
    assert set(filled.values) == there
    await filled._step()
    assert set(filled.values) == there


async def test_a_view_is_filled_for_as_long_as_something_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.nats.kv.DEFAULT_TIMEOUT_S", 0.1)
    reader = Scripted(*([f"k{number}"] for number in range(8)))
    reader.each_takes_s = 0.03
    slow = _View("KEYS", cast(StreamReader, reader), None)
    await slow.fill()
    assert len(slow.values) == 8


@pytest.mark.parametrize(("quiet_s", "all_s"), [(0.05, 60.0), (60.0, 0.05)])
async def test_a_view_of_which_nothing_or_not_all_comes_in_time_is_none(
    quiet_s: float, all_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.nats.kv.DEFAULT_TIMEOUT_S", quiet_s)
    monkeypatch.setattr("bus.nats.kv._FILL_S", all_s)
    reader = Scripted(["a"], ["b"])
    reader.each_takes_s = 0.2
    with pytest.raises(Unavailable, match="0 keys came"):
        await _View("KEYS", cast(StreamReader, reader), None).fill()
