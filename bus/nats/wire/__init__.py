"""A NATS client at the level of the protocol: no coroutine and no future per message (ADR 0009)."""

from bus.nats.wire.client import WireClient, open_wire

__all__ = ["WireClient", "open_wire"]
