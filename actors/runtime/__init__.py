"""The actor class, the supervisor that runs it, its drain and its settings."""

from actors.runtime.actor import Actor, Context, GiveBack, NoSettings, Work

__all__ = ["Actor", "Context", "GiveBack", "NoSettings", "Work"]
