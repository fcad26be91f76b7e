"""Every command: its words, where it lives, and one line about it. The help and the parser are made from this."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Command:
    """`words` as typed, `target` as `module:function`, imported only when the command is called."""

    words: str
    target: str
    summary: str


COMMANDS: Final = (
    Command("up", "actors.cli.up:up", "Start the servers and every actor, run a real task, stay up."),
    Command("servers up", "actors.cli.servers:up", "Start the development servers."),
    Command("servers down", "actors.cli.servers:down", "Stop the development servers; their data stays."),
    Command("servers status", "actors.cli.servers:status", "Show the development servers."),
    Command("run", "actors.cli.run:run", "Run actors in this process: names, or all."),
    Command("ls", "actors.cli.ls:ls", "List every actor that answers on the bus."),
    Command("intents", "actors.cli.intents:intents", "List the intents that are answered now."),
    Command("submit", "actors.cli.submit:submit", "Hand in a task and print its result."),
    Command("get", "actors.cli.get:get", "Print a task's result, or how far it is."),
    Command("cancel", "actors.cli.cancel:cancel", "End a task as CANCELED."),
    Command("watch", "actors.cli.watch:watch", "Follow a task's events until it ends."),
    Command("key create", "actors.cli.key:create", "Issue an API key; its text is shown once."),
    Command("key ls", "actors.cli.key:ls", "List the API keys."),
    Command("key rotate", "actors.cli.key:rotate", "Issue an API key in place of another, which goes on for a while."),
    Command("key revoke", "actors.cli.key:revoke", "Revoke an API key."),
    Command("auth rotate", "actors.cli.auth:rotate", "Begin to sign access tokens with a new key."),
    Command("auth revoke", "actors.cli.auth:revoke", "End all tokens of one sign-in."),
    Command("bridge verify", "actors.cli.bridge:verify", "Re-read the log and Kafka and compare them."),
    Command("doctor", "actors.cli.doctor:doctor", "Check this installation; each failure names its fix."),
    Command("completion", "actors.cli.completion:completion", "Print a shell's completion script."),
)

GROUPS: Final = {
    "servers": "Development servers on this machine.",
    "key": "API keys.",
    "auth": "Tokens of users.",
    "bridge": "The bridge to Kafka.",
}
