"""`aionctl cancel`."""

from urllib.parse import quote

from actors.cli.door import find_door
from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit


def cancel(task_id: str, /, *, as_json: Json = False) -> int:
    """End a task as CANCELED; one that has ended already is a conflict, and keeps its result.

    Parameters
    ----------
    task_id
        The id that submit printed.
    """
    emit(find_door().call("POST", f"/v1/tasks/{quote(task_id, safe='')}/cancel").body, as_json=as_json)
    return Exit.OK
