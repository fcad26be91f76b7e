"""Structured logs on stderr: JSON for machines, colours for a terminal, never a payload or a secret."""

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from actors.runtime.settings import RuntimeSettings
from schemas.errors import AionError

HIDDEN: Final = frozenset({"params", "result", "payload", "password", "secret", "token", "api_key", "authorization"})
"""Keys whose values never leave the process, whoever logged them."""

_FRAMES: Final = 6


def open_logs(settings: RuntimeSettings, stream: TextIO | None = None) -> FilteringBoundLogger:
    """The process's logger; what libraries say through `logging` goes the same way, from warnings up."""
    out = sys.stderr if stream is None else stream
    as_json = settings.log_json if settings.log_json is not None else not out.isatty()
    last: list[Processor] = (
        [structlog.processors.JSONRenderer()] if as_json else [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    _route_libraries(out, last, max(level, logging.WARNING))
    processors, wrapper = [*_shared(), *last], structlog.make_filtering_bound_logger(level)
    if stream is None:  # the process's own: what the bus logs by name goes the same way
        structlog.configure(
            processors=processors, wrapper_class=wrapper, logger_factory=structlog.WriteLoggerFactory(out)
        )
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(out), processors=processors, wrapper_class=wrapper
    )
    return logger


def failure(error: BaseException) -> dict[str, object]:
    """What a log may say of an error: its type, its place, and its message only when it is one of ours.

    Messages of foreign errors can quote their input, and that may be a payload.
    """
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    said: dict[str, object] = {
        "error": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, AionError):
        said |= {"code": error.code, "message": error.message}
    elif isinstance(error, OSError):
        said["message"] = error.strerror or str(error)
    if error.__cause__ is not None:
        said["cause"] = type(error.__cause__).__name__
    return said


def hide(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Replace the values of `HIDDEN` keys."""
    return {key: "[hidden]" if key in HIDDEN else value for key, value in event.items()}


def tell(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Say of the exception that a line is about what `failure` says; its traceback would quote messages."""
    about = event.pop("exc_info", None)
    error = sys.exc_info()[1] if about is True else about[1] if isinstance(about, tuple) else about
    return {**failure(error), **event} if isinstance(error, BaseException) else event


def _shared() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at_time"),
        tell,
        hide,
    ]


def _route_libraries(out: TextIO, last: list[Processor], level: int) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_shared()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
