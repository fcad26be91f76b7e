"""The door to Redis or Valkey: one script, one call a round. Nothing else of AION speaks to it."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from edge.limits.shared import Ask, Reply
from schemas.errors import Misconfigured, Unavailable

PREFIX: Final = "aion:{limits}:"
"""Of every key. One hash tag: a script's keys must live together on a cluster (Redis Cluster specification)."""
CONNECTIONS: Final = 2
"""The one in use, and a fresh one while a broken one is let go."""


class RedisScript:
    """`buckets.lua` by EVALSHA; a server that forgot the script is given it again."""

    def __init__(self, url: str, connect_timeout_s: float) -> None:
        try:
            self._client = Redis.from_url(
                url,
                max_connections=CONNECTIONS,
                socket_timeout=None,
                socket_connect_timeout=connect_timeout_s,
                retry=Retry(NoBackoff(), 0),
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
            )
        except ValueError as error:
            raise Misconfigured(f"AION_REDIS__URL is no address of Redis ({error}): redis://host:6379/0") from None
        self._script = self._client.register_script(files("edge.limits").joinpath("buckets.lua").read_text())

    async def run(self, asks: Sequence[Ask]) -> list[Reply]:
        """One call for all of them."""
        keys = [PREFIX + bucket.key for ask in asks for bucket in ask.buckets]
        try:
            numbers = await self._script(keys, list(_arguments(asks)))
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
        return list(_replies(asks, numbers))

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()


def _arguments(asks: Sequence[Ask]) -> Iterator[int]:
    for ask in asks:
        yield len(ask.buckets)
        yield int(ask.owed)
        for bucket, least_us in zip(ask.buckets, ask.least_us, strict=True):
            yield bucket.debit_us
            yield bucket.tolerance_us
            yield least_us


def _replies(asks: Sequence[Ask], numbers: Sequence[int]) -> Iterator[Reply]:
    at = 0
    for ask in asks:
        end = at + 1 + len(ask.buckets)
        yield Reply(numbers[at] == 1, tuple(numbers[at + 1 : end]))
        at = end
