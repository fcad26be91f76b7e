"""A stored message as a consumer delivers it, and the two forms of its ack subject."""

from dataclasses import dataclass

from bus.nats.message import Message
from bus.port import Entry


@dataclass(frozen=True, slots=True)
class Place:
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
    delivered, sequence, consumer_sequence, at_ns, pending = (int(token) for token in tokens[base : base + 5])
    return Place(delivered, sequence, consumer_sequence, at_ns, pending)


def entry(message: Message, at: Place) -> Entry:
    """The stored event of a delivery."""
    return Entry(at.sequence, at.at_ns, message.subject, message.data)
