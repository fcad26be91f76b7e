"""`aionctl completion`."""

from typing import Literal

from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit


def completion(shell: Literal["bash", "zsh", "fish"] = "bash", /, *, as_json: Json = False) -> int:
    """Print a completion script, to be loaded with source <(aionctl completion bash).

    Parameters
    ----------
    shell
        Which shell it is for.
    """
    from actors.cli.app import build

    script = build().generate_completion(prog_name="aionctl", shell=shell)
    emit({"shell": shell, "script": script}, as_json=as_json, text=script)
    return Exit.OK
