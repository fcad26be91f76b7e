"""`aionctl ls`."""

from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit, table
from actors.cli.session import visit
from bus import Bus
from bus.port import ServiceSeen

COLUMNS = ("actor", "instance", "version", "ready", "in_flight", "slots", "done", "failed", "draining")


def ls(*, as_json: Json = False) -> int:
    """List every actor that answers on the bus, with what it is doing."""
    seen = visit(_discover)
    rows = [_row(service) for service in seen]
    emit(rows, as_json=as_json, text=table(COLUMNS, [_shown(row) for row in rows]))
    return Exit.OK


async def _discover(bus: Bus) -> list[ServiceSeen]:
    return sorted(await bus.rpc.discover(), key=lambda service: (service.name, service.instance))


def _row(service: ServiceSeen) -> dict[str, object]:
    return {
        **service.data,
        "actor": service.name,
        "instance": service.instance,
        "version": service.version,
    }


def _shown(row: dict[str, object]) -> dict[str, object]:
    waits_for = row.get("waits_for")
    answers = {True: "yes", False: "no"}
    texts = {name: answers.get(value, value) if isinstance(value, bool) else value for name, value in row.items()}
    return texts | ({"ready": f"no: {waits_for}"} if waits_for else {})
