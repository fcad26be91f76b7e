"""The Kafka bridge as an actor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors.runtime.actor import Context
from bridges.bridge import Bridge
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.sink import KafkaSink, open_kafka_sink
from bridges.kafka.topics import ensure_topics


class KafkaBridge(Bridge):
    """Carries every event of the log into Kafka, exactly once under `read_committed`, in order per key.

    Any number may run; with one transactional id one of them writes, and the one it replaced ends.
    """

    name = "kafka"
    description = "every event to Kafka, exactly once"
    settings_type = KafkaSettings
    settings: KafkaSettings

    def __init__(self, context: Context, settings: KafkaSettings) -> None:
        super().__init__(context, settings)
        self._topics_checked = False

    @asynccontextmanager
    async def open_sink(self) -> AsyncIterator[KafkaSink]:
        """A sink over a fresh producer. Raises `Misconfigured` when a topic is not what it must be."""
        if not self._topics_checked:
            await ensure_topics(self.settings)
            self._topics_checked = True
        async with open_kafka_sink(self.settings) as sink:
            yield sink
