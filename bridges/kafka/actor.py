"""The Kafka bridge as an actor."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from actors.runtime.actor import Actor, Context
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.sink import KafkaSink, open_kafka_sink
from bridges.kafka.topics import ensure_topics
from bridges.projection import Projection


class KafkaBridge(Actor):
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
        self._projection = Projection(self.name, context, self._open, settings)

    async def run(self) -> None:
        """Project until drained. Raises what the projection raises, `Misconfigured` for topics included."""
        await self._projection.run()

    def ready(self) -> str | None:
        """None once the position was read and fits the log."""
        return self._projection.ready()

    def status(self) -> Mapping[str, object]:
        """The projection's figures."""
        return self._projection.status()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[KafkaSink]:
        if not self._topics_checked:
            await ensure_topics(self.settings)
            self._topics_checked = True
        async with open_kafka_sink(self.settings) as sink:
            yield sink
