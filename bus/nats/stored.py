"""A stored message as a consumer delivers it, and the two forms of its ack subject."""

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
