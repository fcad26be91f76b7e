"""Whose a call is when proxies stand in between: the same fields are believed as over HTTP."""

from urllib.parse import unquote

from edge.grpc.wire import Wire
from edge.http.clients import Clients, network_of


class Peers:
    """Tells clients from trusted proxies."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def network_of(self, wire: Wire) -> str:
        """What the call's address counts as: the nearest one that no trusted proxy has."""
        return network_of(self._clients.behind(_address_of(wire), lambda field: _values_of(wire, field)))


def _values_of(wire: Wire, field: str) -> list[str]:
    """What the metadata says of a field, whose name gRPC has in lower case."""
    name = field.lower()
    return [value for key, value in wire.invocation_metadata() or () if key == name and isinstance(value, str)]


def _address_of(wire: Wire) -> str:
    """The connection's own; gRPC writes `ipv4:192.0.2.1:5` and `ipv6:%5B2001:db8::1%5D:5`."""
    _, _, address = wire.peer().partition(":")
    return unquote(address)
