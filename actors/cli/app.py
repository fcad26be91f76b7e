"""The parser: every command by its path, errors as one line and an exit code."""

from collections.abc import Sequence

from cyclopts import App, CycloptsError

from actors.cli.commands import COMMANDS, GROUPS
from actors.cli.exits import Exit, of_error
from actors.cli.output import complain
from schemas.errors import AionError


def build() -> App:
    """The command tree; no command's module is imported yet."""
    app = App(name="aionctl", help="Run and use AION.", version=_version)
    groups = {name: App(name=name, help=text) for name, text in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for command in COMMANDS:
        *group_name, name = command.words.split()
        parent = groups[group_name[0]] if group_name else app
        parent.command(command.target, name=name, help=command.summary)
    return app


def _version() -> str:
    """Imported only when asked for: the runtime takes longer to import than a parser to answer."""
    from actors.runtime.version import installed_version

    return installed_version()


def execute(arguments: Sequence[str]) -> int:
    """Parse, run, and turn whatever happened into an exit code."""
    as_json = "--json" in arguments
    try:
        code = build()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        complain("usage", f"{error} Try aionctl {arguments[0]} --help", as_json=as_json)
        return Exit.USAGE
    except AionError as error:
        problem = getattr(error, "problem", None)
        complain(error.code, error.message, as_json=as_json, more={"problem": problem} if problem else None)
        return of_error(error)
    except TimeoutError as error:
        complain("deadline_exceeded", str(error) or "no answer in time", as_json=as_json)
        return Exit.TIMEOUT
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.FAILURE
    return int(code or 0)
