"""`aionctl run`: actors in this process."""

import difflib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from actors.cli.environment import environment
from actors.cli.options import Json
from actors.runtime.actor import Actor
from schemas.errors import InvalidRequest, Misconfigured

GROUP = "aion.actors"


def run(*actors: str, as_json: Json = False) -> int:
    """Run actors in this process until SIGTERM or SIGINT, which drain them; a second signal ends at once.

    Exit codes of its own: 75 when the bus is gone for good.

    Parameters
    ----------
    actors
        Their names, or all.
    as_json
        Log JSON even on a terminal.
    """
    from actors.runtime.process import run_actors

    chosen = choose(actors, {found.name: found for found in entry_points(group=GROUP)})
    environ = environment()
    if as_json:
        environ.setdefault("AION_RUNTIME__LOG_JSON", "true")
    os.environ.update(environ)  # child processes of an actor find the same servers
    return run_actors([_load(found) for found in chosen], environ)


def choose(names: Sequence[str], known: Mapping[str, EntryPoint]) -> list[EntryPoint]:
    """The named actors, each once. Raises `InvalidRequest` listing what is known."""
    listed = ", ".join(sorted(known))
    if not names:
        raise InvalidRequest(f"which actors? name some of {listed}, or all")
    if "all" in names:
        return list(known.values())
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise InvalidRequest(f"there is no actor {name!r}: {hint}known are {listed}, and all")
    return [known[name] for name in dict.fromkeys(names)]


def _load(found: EntryPoint) -> type[Actor]:
    try:
        loaded = found.load()
    except ModuleNotFoundError as error:
        raise Misconfigured(f"{found.name} needs {error.name}: pip install 'aion[{found.name}]'") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Actor)):
        raise Misconfigured(f"{found.value} of entry point {found.name} is not an Actor")
    return loaded
