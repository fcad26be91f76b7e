"""The bus in memory: every port, one process, the real server's behaviour, and time that a test can own."""

from bus.memory.bus import MemoryBus
from bus.memory.server import MemoryServer

__all__ = ["MemoryBus", "MemoryServer"]
