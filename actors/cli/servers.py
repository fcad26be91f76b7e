"""`aionctl servers`: the development servers."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit, table, talk
from deploy import local
from deploy.local import ServerInfo

COLUMNS = ("name", "version", "pid", "url")
PageCache = Annotated[bool, Parameter(negative=())]


def up(*, page_cache: PageCache = False, as_json: Json = False) -> int:
    """Start the development servers that do not run yet, and wait until they serve.

    Parameters
    ----------
    page_cache
        Let NATS acknowledge before fsync: faster, and an acceptance may be lost with the machine's power.
    """
    infos = local.up(local.DATA_DIR, os.environ, talk, nats_sync="page-cache" if page_cache else "always")
    _show(infos, as_json=as_json)
    return Exit.OK


def down(*, as_json: Json = False) -> int:
    """Stop the development servers; their data and ports stay."""
    stopped = local.down(local.DATA_DIR)
    emit({"stopped": stopped}, as_json=as_json, text=f"stopped: {', '.join(stopped) or 'nothing ran'}")
    return Exit.OK


def status(*, as_json: Json = False) -> int:
    """Show the development servers; fails with 6 when one of them does not run."""
    infos = local.status(local.DATA_DIR)
    _show(infos, as_json=as_json)
    running = bool(infos) and all(info.pid is not None or info.source == "configured" for info in infos)
    return Exit.OK if running else Exit.UNAVAILABLE


def _show(infos: Iterable[ServerInfo], *, as_json: bool) -> None:
    rows = [_row(info) for info in infos]
    emit(rows, as_json=as_json, text=table(COLUMNS, rows))


def _row(info: ServerInfo) -> dict[str, Any]:
    folder: Path | None = info.data_dir
    return {
        "name": info.name,
        "version": info.version or None,
        "pid": info.pid,
        "url": info.url,
        "data_dir": None if folder is None else str(folder),
        "source": info.source,
    }
