"""`aionctl intents`."""

from actors.cli.door import find_door
from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit, table

COLUMNS = ("intent", "engines", "modules", "description")


def intents(*, as_json: Json = False) -> int:
    """List what is answered now: every intent, its engines, and the packages behind it."""
    listed = find_door().call("GET", "/v1/intents").body["intents"]
    emit(listed, as_json=as_json, text=table(COLUMNS, [_row(one) for one in listed]))
    return Exit.OK


def _row(one: dict[str, object]) -> dict[str, object]:
    modules = one.get("modules")
    found = [module for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    engines = one.get("engines")
    return {
        "intent": one.get("intent"),
        "engines": ", ".join(map(str, engines)) if isinstance(engines, list) else None,
        "modules": ", ".join(str(module.get("name")) for module in found) or None,
        "description": next((module.get("description") for module in found), None),
    }
