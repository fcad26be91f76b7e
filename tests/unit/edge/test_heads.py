"""How many connections there may be, and of whom."""

from typing import Any

from edge.http.wire.heads import Heads


async def test_the_connections_of_one_ipv6_network_count_together() -> None:
    heads = Heads(1.0, most=100, most_of_one=2)
    connections: list[Any] = [object() for _ in range(5)]
    peers = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::3", "2001:db8:1:3::1", "198.51.100.1"]
    stay = [heads.made(connection, peer) for connection, peer in zip(connections, peers, strict=True)]
    assert (stay, heads.turned_away) == ([True, True, False, True, True], 1)
    for connection, peer in zip(connections, peers, strict=True):
        heads.lost(connection, peer)
    assert heads.open == 0
    assert heads.made(connections[0], "2001:db8:1:2::4")
    heads.close()


async def test_a_trusted_proxy_has_any_number_and_takes_no_place_of_its_neighbours() -> None:
    heads = Heads(1.0, most=100, most_of_one=1, unbounded=lambda peer: peer == "2001:db8::1")
    connections: list[Any] = [object() for _ in range(4)]
    peers = ["2001:db8::1", "2001:db8::1", "2001:db8::2", "2001:db8::3"]
    stay = [heads.made(connection, peer) for connection, peer in zip(connections, peers, strict=True)]
    assert stay == [True, True, True, False]
    heads.close()
