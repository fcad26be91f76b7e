"""Randomness that is fetched in pieces."""

import os
from random import randrange

import pytest

from actors.runtime.chance import Chance


def test_every_byte_that_is_fetched_is_handed_out_at_most_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = bytearray()
    urandom = os.urandom

    def remembered(size: int) -> bytes:
        fetched.extend(piece := urandom(size))
        return piece

    monkeypatch.setattr(os, "urandom", remembered)
    chance, at = Chance(), 0
    for _ in range(500):
        size = randrange(0, 1500)
        piece = chance.randbytes(size)
        assert len(piece) == size
        at = fetched.index(piece, at) + size


def test_numbers_still_come_from_the_system() -> None:
    chance = Chance()
    assert 0 <= chance.random() < 1
    assert chance.randint(3, 3) == 3
    with pytest.raises(NotImplementedError):
        chance.getstate()
