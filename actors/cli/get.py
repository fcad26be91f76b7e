"""`aionctl get`."""

from urllib.parse import quote

from actors.cli.door import find_door
from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit


def get(task_id: str, /, *, as_json: Json = False) -> int:
    """Print a task's canonical result once it has ended, else how far it is.

    Parameters
    ----------
    task_id
        The id that submit printed.
    """
    emit(find_door().call("GET", f"/v1/tasks/{quote(task_id, safe='')}").body, as_json=as_json)
    return Exit.OK
