"""A stored message as a consumer delivers it, and the two forms of its ack subject."""

from dataclasses import dataclass

from nats.aio.msg import Msg

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


def entry(message: Msg, at: Place) -> Entry:
    """The stored event of a delivery."""
    return Entry(at.sequence, at.at_ns, message.subject, message.data)


def status(message: Msg) -> str | None:
    """`100`, `404`, `408`, `409`, `503` ... of a message that carries no entry, else None."""
    headers = message.headers
    if not headers or message.data:
        return None
    return headers.get("Status")
