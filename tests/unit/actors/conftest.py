import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def root_logger_is_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
