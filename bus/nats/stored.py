"""A stored message as a consumer delivers it, and the two forms of its ack subject."""

from collections.abc import Iterable
from typing import NamedTuple

from bus.nats.message import Message
from bus.port import Entry


class Place(NamedTuple):
    """What the ack subject of a delivery says."""

    delivered: int
    sequence: int
    consumer_sequence: int
    at_ns: int
    pending: int


Delivered = tuple[int, int, Message]
"""Sequence, the log's time in nanoseconds, and the message."""


def place(ack_subject: str) -> Place:
    """Parse `$JS.ACK...`: nine tokens, or twelve with domain and account (default since server 2.15)."""
    tokens = ack_subject.split(".")
    base = 4 if len(tokens) == 9 else 6
    return Place(
        int(tokens[base]), int(tokens[base + 1]), int(tokens[base + 2]), int(tokens[base + 3]), int(tokens[base + 4])
    )


def entry(message: Message, at: Place) -> Entry:
    """The stored event of a delivery."""
    return Entry(at.sequence, at.at_ns, message.subject, message.data)


def in_order(messages: Iterable[Message], first: int) -> list[Delivered]:
    """`messages` up to the one whose consumer sequence does not follow on; the first is due to have `first`.

    All are of one consumer, so the tokens are counted once.
    """
    found: list[Delivered] = []
    after = 0
    for due, message in enumerate(messages, start=first):
        after = after or (4 if message.reply.count(".") == 8 else 5)
        _, sequence, consumer_sequence, at_ns, *_ = message.reply.rsplit(".", after)
        if int(consumer_sequence) != due:
            break
        found.append((int(sequence), int(at_ns), message))
    return found
