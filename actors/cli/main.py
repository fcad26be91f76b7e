"""From an argument list to an exit code."""

import sys
from collections.abc import Sequence
from typing import Final

from actors.cli.commands import COMMANDS

_HELP: Final = frozenset({"-h", "--help", "help"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aionctl` and return its exit code (`actors.cli.exits`). The overview of commands needs no parser."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or (len(given) == 1 and given[0] in _HELP):
        sys.stdout.write(overview())
        return 0
    from actors.cli.app import execute

    return execute(given)


def overview() -> str:
    """The help of `aionctl` itself."""
    width = max(len(command.words) for command in COMMANDS)
    lines = [f"  {command.words:<{width}}  {command.summary}" for command in COMMANDS]
    return "\n".join(
        [
            "Usage: aionctl COMMAND [--json]",
            "",
            *lines,
            "",
            "aionctl COMMAND --help says more. Data goes to stdout, talk to stderr.",
            "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 denied, 5 conflict, 6 unavailable, 7 timeout,",
            "130 interrupted.",
            "",
        ]
    )
