from collections.abc import Callable

import pytest

from schemas.events import LogEvent


@pytest.fixture(scope="session")
def event_of(every_event: dict[str, LogEvent]) -> Callable[[str], LogEvent]:
    """The event of the named kind."""
    return every_event.__getitem__


@pytest.fixture(params=("accepted", "routed", "started", "attempt_failed", "ended", "audit"))
def event(request: pytest.FixtureRequest, every_event: dict[str, LogEvent]) -> LogEvent:
    """Each kind of event in turn."""
    return every_event[request.param]
