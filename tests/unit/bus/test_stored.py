"""What an ack subject says of a stored message."""

import pytest

from bus.nats.message import Message
from bus.nats.stored import in_order, place

SHORT = "$JS.ACK.LOG.reader.1.%d.%d.1700000000000000000.9"
LONG = "$JS.ACK._.hash.LOG.reader.1.%d.%d.1700000000000000000.9.token"


def messages(form: str, places: list[tuple[int, int]]) -> list[Message]:
    return [Message("subject", form % at, b"data") for at in places]


@pytest.mark.parametrize("form", [SHORT, LONG])
def test_both_forms_say_where_a_message_stands(form: str) -> None:
    assert place(form % (70, 7)) == (1, 70, 7, 1_700_000_000_000_000_000, 9)
    held = messages(form, [(70, 7), (75, 8)])
    assert in_order(held, 7) == [(70, 1_700_000_000_000_000_000, held[0]), (75, 1_700_000_000_000_000_000, held[1])]


@pytest.mark.parametrize("form", [SHORT, LONG])
@pytest.mark.parametrize(("places", "good"), [([(1, 1), (3, 3), (4, 4)], 1), ([(2, 2), (3, 3)], 0), ([], 0)])
def test_what_follows_a_gap_is_left_out(form: str, places: list[tuple[int, int]], good: int) -> None:
    held = messages(form, places)
    assert [message for _, _, message in in_order(held, 1)] == held[:good]
