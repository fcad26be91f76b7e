"""Choosing loopback ports, and keeping them from one start to the next."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from random import Random

from schemas.errors import LocalServerError

LOOPBACK = "127.0.0.1"
FIRST_PORT, LAST_PORT = 20_000, 32_000
"""Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes a port between two starts."""
PATIENCE_S = 1.0


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def falls_free(port: int) -> bool:
    """As `is_free`, a moment later too: a process that was killed keeps its ports until the last thread is gone."""
    until_s = time.monotonic() + PATIENCE_S
    while not is_free(port):
        if time.monotonic() > until_s:
            return False
        time.sleep(PATIENCE_S / 50)
    return True


def choose_ports(
    names: Iterable[str], remembered: Mapping[str, int], taken: Collection[int], random: Random
) -> dict[str, int]:
    """Give one free port per name: the remembered one where it is still free, a random one otherwise.

    `taken` are ports that nobody listens on yet but that another server was promised.
    """
    chosen: dict[str, int] = {}
    for name in names:
        used = {*taken, *chosen.values()}
        port = remembered.get(name, 0)
        chosen[name] = port if port and port not in used and falls_free(port) else _find(used, random)
    return chosen


def _find(used: Collection[int], random: Random) -> int:
    for _ in range(1000):
        port = random.randrange(FIRST_PORT, LAST_PORT)
        if port not in used and is_free(port):
            return port
    raise LocalServerError(f"no free port between {FIRST_PORT} and {LAST_PORT} on {LOOPBACK}")
