"""Where a request comes from, when proxies stand in between."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from aiohttp import web

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_FOR: Final = re.compile(r'(?:^|;)\s*for="?([^";]*)"?\s*(?=;|$)', re.IGNORECASE)
_PORT: Final = re.compile(r"(?:\[([^\]]+)\]|([0-9.]+))(?::[0-9]{1,5})?")
HOPS: Final = 32
"""So many entries of a field are read: what stands before them may be the client's own."""


class Clients:
    """Tells clients from trusted proxies.

    `field` is the one that those proxies append to; the other one may come from anybody, and is not read.
    """

    def __init__(self, trusted: Sequence[Network], field: str) -> None:
        self._trusted = tuple(trusted)
        self._field = field

    def trusts(self, address: str) -> bool:
        """Whether what this address says of others is believed."""
        read = read_address(address)
        return read is not None and any(read in network for network in self._trusted)

    def address_of(self, request: web.BaseRequest) -> str:
        """The nearest address that no trusted proxy has; the connection's own when none may be believed."""
        return self.behind(request.remote or "", lambda field: request.headers.getall(field, ()))

    def behind(self, peer: str, values_of: Callable[[str], Iterable[str]]) -> str:
        """The same of any request, by the address of its connection and the values of a field."""
        if not self._trusted or not self.trusts(peer):
            return peer
        for hop in self._hops(values_of(self._field)):
            read = read_address(hop)
            if read is None:
                return peer  # the proxy passed on what it could not read, so nothing before it can be trusted
            peer = str(read)
            if not self.trusts(peer):
                break
        return peer

    def network_of(self, request: web.BaseRequest) -> str:
        """What its address counts as: an IPv6 customer has a network of at least 64 bits."""
        return network_of(self.address_of(request))

    def _hops(self, values: Iterable[str]) -> Iterator[str]:
        """What the field says, the nearest hop first."""
        parts = ",".join(values).rsplit(",", HOPS)
        if parts == [""]:
            return
        for part in reversed(parts[-HOPS:]):
            if self._field == "Forwarded":
                found = _FOR.search(part)
                yield found[1] if found else ""
            else:
                yield part.strip()


@lru_cache(maxsize=4096)
def read_address(text: str) -> Address | None:
    """An address as RFC 7239 section 6 and X-Forwarded-For write it, with or without a port; None for anything else."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        found = _PORT.fullmatch(text)
        if not found:
            return None
        try:
            address = ipaddress.ip_address(found[1] or found[2])
        except ValueError:
            return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The address, of IPv6 the first 64 bits."""
    read = read_address(address)
    if isinstance(read, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(read) >> 64 << 64, 64)))
    return str(read) if read is not None else address
