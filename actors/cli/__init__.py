"""The command line `aionctl`. Importing it costs nothing; each command imports what it needs when it runs."""

from actors.cli.main import main

__all__ = ["main"]
