"""Whose a call is when proxies stand in between: the same fields are believed as over HTTP."""

from typing import NamedTuple, cast
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from edge.grpc.wire import Wire
from edge.http.clients import Clients, network_of


class Peers:
    """Tells clients from trusted proxies."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def network_of(self, wire: Wire) -> str:
        """What the call's address counts as: the nearest one that no trusted proxy has."""
        address = _address_of(wire)
        if self._clients.trusts(address):
            address = self._clients.address_of(cast(web.BaseRequest, _Asked(address, _fields_of(wire))))
        return network_of(address)


class _Asked(NamedTuple):
    """What `Clients` reads of a request."""

    remote: str
    headers: CIMultiDict[str]


def _fields_of(wire: Wire) -> CIMultiDict[str]:
    """The metadata that is text (all but `...-bin`)."""
    return CIMultiDict((key, value) for key, value in wire.invocation_metadata() or () if isinstance(value, str))


def _address_of(wire: Wire) -> str:
    """The connection's own; gRPC writes `ipv4:192.0.2.1:5` and `ipv6:%5B2001:db8::1%5D:5`."""
    _, _, address = wire.peer().partition(":")
    return unquote(address)
