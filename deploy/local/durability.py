"""Whether the development NATS syncs what it acknowledges, as it says itself."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path

from deploy.local.nats import Sync
from deploy.local.ports import LOOPBACK
from deploy.local.process import is_alive
from deploy.local.servers import DATA_DIR
from deploy.local.state import StateFile


def nats_sync(url: str, data_dir: Path = DATA_DIR) -> Sync | None:
    """Give how the server at `url` stores; None when it is not the one that `up` started here, or does not say."""
    record = StateFile(data_dir.resolve()).read().started.get("nats")
    if record is None or record.url != url or not is_alive(record.pid, record.born):
        return None
    try:
        with closing(http.client.HTTPConnection(LOOPBACK, record.ports["monitor"], timeout=2)) as connection:
            connection.request("GET", "/varz")
            return sync_of(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return None


def sync_of(varz: bytes) -> Sync | None:
    """Read the answer of the monitoring port."""
    try:
        config = json.loads(varz)["jetstream"]["config"]
        return "always" if config.get("sync_always") else "page-cache"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
