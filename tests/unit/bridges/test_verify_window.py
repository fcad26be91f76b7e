import pytest

from bridges.kafka.settings import KafkaSettings
from bridges.kafka.verify import verify
from bus.memory import MemoryBus, MemoryServer
from schemas.errors import NotFound


async def test_a_log_without_events_is_said_to_have_none() -> None:
    async with MemoryBus(MemoryServer()) as bus:
        with pytest.raises(NotFound, match="no event yet"):
            await verify(bus, KafkaSettings(), 0, 0)
