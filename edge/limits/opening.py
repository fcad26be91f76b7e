"""Limits as the edge opens them: with Redis, alone, or none at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.typing import FilteringBoundLogger

from actors.runtime.settings import RedisSettings
from edge.limits.limits import Limits
from edge.limits.settings import LimitsSettings
from edge.limits.shared import Shared


@asynccontextmanager
async def open_limits(
    settings: LimitsSettings, redis: RedisSettings, log: FilteringBoundLogger
) -> AsyncIterator[Limits | None]:
    """The limits, None when nothing is limited; whoever opens them runs `watch`. A Redis that is away is no hindrance.

    Raises `Misconfigured` for an address that is none.
    """
    if not settings.wanted:
        yield None
    elif redis.url is None:
        yield Limits(settings, None)
    else:
        async with _shared(settings, redis.url.get_secret_value(), log) as shared:
            yield Limits(settings, shared)


@asynccontextmanager
async def _shared(settings: LimitsSettings, url: str, log: FilteringBoundLogger) -> AsyncIterator[Shared]:
    from edge.limits.script import RedisScript  # importing redis costs half a second, and most need it not

    script = RedisScript(url, settings.answer_timeout_s)
    shared = Shared(script, log, answer_timeout_s=settings.answer_timeout_s, retry_s=settings.retry_s)
    await shared.probe()
    try:
        yield shared
    finally:
        await script.close()
