"""What every bridge is: an actor that runs one projection."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from actors.runtime.actor import Actor, Context
from bridges.projection import Projection, ProjectionSettings, Sink


class Bridge(Actor, ABC):
    """Projects the log into the sink that a subclass opens; the projection's name is the actor's."""

    def __init__(self, context: Context, settings: ProjectionSettings) -> None:
        super().__init__(context, settings)
        self._projection = Projection(self.name, context, self.open_sink, settings)

    @abstractmethod
    def open_sink(self) -> AbstractAsyncContextManager[Sink]:
        """A fresh sink, as `Sink` demands; asked again after every failure."""

    async def run(self) -> None:
        """Project until drained. Raises what the projection raises."""
        await self._projection.run()

    def ready(self) -> str | None:
        """None once the sink answered and its position fits the log."""
        return self._projection.ready()

    def status(self) -> Mapping[str, object]:
        """The projection's figures."""
        return self._projection.status()
