"""The streams and buckets on the server: created when absent, and never silently other than asked."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from bus.nats.connection import ApiError, Connection
from bus.settings import BusSettings
from bus.subjects import BUCKETS, LIVE, LOG_STREAM, LOG_SUBJECTS, TASKS, TOKENS, TOKENS_STREAM
from schemas.errors import AionError, ServerIncompatible

SECOND_NS = 1_000_000_000
_NOT_FOUND = 10059
_EXISTS = 10058
_API_TIMEOUT_S = 10.0
_RETRY_S = 1.0


def log_config(settings: BusSettings) -> dict[str, Any]:
    """The log: nothing may be deleted, the oldest leaves by age alone, and a full log refuses."""
    return {
        "name": LOG_STREAM,
        "subjects": list(LOG_SUBJECTS),
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "allow_direct": True,
        "allow_atomic": True,
        "deny_delete": True,
        "max_age": int(settings.keep_s * SECOND_NS),
        "max_bytes": settings.max_bytes,
        "num_replicas": settings.replicas,
        "republish": {"src": TASKS, "dest": LIVE},
        "duplicate_window": SECOND_NS // 10,
    }


def tokens_config(settings: BusSettings) -> dict[str, Any]:
    """Token deltas, in memory and for ten minutes: enough to resume a stream."""
    return {
        "name": TOKENS_STREAM,
        "subjects": [TOKENS],
        "storage": "memory",
        "retention": "limits",
        "discard": "old",
        "allow_direct": True,
        "no_ack": True,
        "max_age": 600 * SECOND_NS,
        "max_bytes": settings.tokens_max_bytes,
        "num_replicas": 1,
        "duplicate_window": SECOND_NS // 10,
    }


def bucket_config(bucket: str, settings: BusSettings) -> dict[str, Any]:
    """A KV bucket (ADR-8) with per-key TTL and markers that tell watchers of an expiry (ADR-43)."""
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": 60 * SECOND_NS,
        "max_msgs_per_subject": 1,
        "max_bytes": 256 << 20,
        "num_replicas": settings.replicas,
        "duplicate_window": SECOND_NS // 10,
    }


async def ensure(connection: Connection, settings: BusSettings) -> None:
    """All streams exist with the configuration asked for.

    Raises `ServerIncompatible` naming each field that the server ignored or that stands differently.
    """
    await _ensure_stream(connection, log_config(settings), settled_elsewhere=frozenset({"max_age"}))
    await _ensure_stream(connection, tokens_config(settings))
    for bucket in BUCKETS:
        await _ensure_stream(connection, bucket_config(bucket, settings))


async def keep_tokens(connection: Connection, settings: BusSettings) -> None:
    """Until cancelled: after each reconnect the token stream is there. A server that was restarted has forgotten it."""
    due = asyncio.Event()
    forget = connection.on_reconnect(due.set)
    try:
        while True:
            await due.wait()
            due.clear()
            try:
                await _ensure_stream(connection, tokens_config(settings))
            except AionError as error:
                structlog.get_logger("bus").warning("tokens_stream_not_ensured", code=error.code)
                await asyncio.sleep(_RETRY_S)
                due.set()
    finally:
        forget()


async def _ensure_stream(
    connection: Connection, wanted: Mapping[str, Any], settled_elsewhere: frozenset[str] = frozenset()
) -> None:
    name = wanted["name"]
    echoed = await _existing(connection, name)
    if echoed is None:
        echoed = await _create(connection, wanted)
    differing = _differences(wanted, echoed) - settled_elsewhere
    if differing:
        # Only settings change on a live stream, and the sweeper alone moves `max_age` (DESIGN section 1).
        update = {**echoed, **{key: wanted[key] for key in differing}}
        answer = await connection.api(f"STREAM.UPDATE.{name}", update, timeout_s=_API_TIMEOUT_S)
        differing = _differences(wanted, answer["config"]) - settled_elsewhere
    if differing:
        fields = ", ".join(sorted(differing))
        raise ServerIncompatible(f"stream {name}: the server did not take {fields}; use nats-server 2.12 or newer")


async def _existing(connection: Connection, name: str) -> dict[str, Any] | None:
    try:
        answer = await connection.api(f"STREAM.INFO.{name}", None, timeout_s=_API_TIMEOUT_S)
    except ApiError as error:
        if error.err_code == _NOT_FOUND:
            return None
        raise
    config: dict[str, Any] = answer["config"]
    return config


async def _create(connection: Connection, wanted: Mapping[str, Any]) -> dict[str, Any]:
    name = wanted["name"]
    try:
        answer = await connection.api(f"STREAM.CREATE.{name}", wanted, timeout_s=_API_TIMEOUT_S)
    except ApiError as error:
        if error.err_code != _EXISTS:
            raise
        found = await _existing(connection, name)  # another actor was first, with other settings
        if found is None:
            raise
        return found
    config: dict[str, Any] = answer["config"]
    return config


def _differences(wanted: Mapping[str, Any], echoed: Mapping[str, Any]) -> frozenset[str]:
    """Fields of `wanted` that came back otherwise; the server leaves out fields that are false or zero."""
    return frozenset(key for key, value in wanted.items() if echoed.get(key) != value and (value or echoed.get(key)))
