"""`aionctl bridge`: proof that Kafka holds what the log holds."""

from dataclasses import asdict
from typing import Any

from actors.cli.environment import environment
from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit
from actors.cli.session import section, tool, visit
from actors.runtime.settings import read_settings
from bus import Bus

VERIFY_TIMEOUT_S = 3600.0


def verify(*, from_seq: int | None = None, to_seq: int | None = None, as_json: Json = False) -> int:
    """Re-read the log and Kafka and compare them event by event; fails on any gap, duplicate or disorder.

    Parameters
    ----------
    from_seq
        The first sequence, by default the oldest in the log.
    to_seq
        The last sequence, by default the newest in the log.
    """
    compare = tool("kafka-verify")
    settings = section(read_settings(environment()), "kafka")

    async def work(bus: Bus) -> Any:
        info = await bus.log.info()
        first = info.first if from_seq is None else from_seq
        last = info.last if to_seq is None else to_seq
        return None if last < first else await compare(bus, settings, first, last)

    report = visit(work, timeout_s=VERIFY_TIMEOUT_S)
    if report is None:
        emit({"ok": True, "events": 0}, as_json=as_json, text="the log is empty: nothing to compare")
        return Exit.OK
    told = {"ok": report.ok, **asdict(report), "faults": dict(report.faults)}  # asdict counts the pairs of a Counter
    emit(told, as_json=as_json)
    return Exit.OK if report.ok else Exit.FAILURE
