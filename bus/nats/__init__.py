"""The bus over a NATS server >= 2.12 with JetStream."""

from bus.nats.bus import NatsBus, open_bus

__all__ = ["NatsBus", "open_bus"]
