"""Which intents are answered at this moment, kept from the views of `MODULES` and `ENGINES`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from schemas.errors import UnknownIntent
from schemas.faces import EMBEDDINGS, EmbeddingsFace
from schemas.message import Unreadable, decode
from schemas.registry import EngineAdvert, ModuleRecord

_NAMED = 20

Speech: TypeAlias = Literal["answers", "reads"]
"""A language model that writes an answer, and one that only reads (embeddings)."""


class Catalogue:
    """Intents by who answers them. An unreadable record answers nothing and disturbs nobody."""

    def __init__(self) -> None:
        self._modules: dict[str, ModuleRecord] = {}
        self._engines: dict[str, EngineAdvert] = {}
        self._known: frozenset[str] = frozenset()
        self._speaking: Mapping[str, Speech] = {}

    def load(self, modules: Mapping[str, bytes], engines: Mapping[str, bytes]) -> None:
        """Take over complete views."""
        for key, value in modules.items():
            self.module_changed(key, value)
        for key, value in engines.items():
            self.engine_changed(key, value)

    def module_changed(self, key: str, value: bytes | None) -> None:
        """A module was admitted, replaced or withdrawn."""
        try:
            self._modules.pop(key, None)
            if value is not None:
                self._modules[key] = decode(value, ModuleRecord)
        except Unreadable:
            pass
        self._count()

    def engine_changed(self, key: str, value: bytes | None) -> None:
        """An executor instance came, told its free slots, or went."""
        before = self._engines.pop(key, None)
        try:
            if value is not None:
                self._engines[key] = decode(value, EngineAdvert)
        except Unreadable:
            pass
        after = self._engines.get(key)
        if before is None or after is None or (before.intents, before.models) != (after.intents, after.models):
            self._count()

    def check(self, intent: str) -> None:
        """Raise `UnknownIntent`, naming what is known, when nobody answers `intent`."""
        if intent in self._known:
            return
        known = sorted(self._known)
        named = ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
        raise UnknownIntent(f"nobody answers the intent {intent!r}: known are {named or 'none yet'}")

    def speech(self, intent: str) -> Speech | None:
        """What a language model does for `intent`, None when none answers it."""
        return self._speaking.get(intent)

    @property
    def modules(self) -> Sequence[ModuleRecord]:
        """Every admitted package, by name."""
        return sorted(self._modules.values(), key=lambda module: module.name)

    @property
    def engines(self) -> Sequence[EngineAdvert]:
        """Every live executor instance, by engine."""
        return sorted(self._engines.values(), key=lambda advert: (advert.engine, advert.instance))

    def listing(self) -> list[dict[str, object]]:
        """Every intent with the modules and engines that answer it, sorted by name."""
        return [self._row(intent) for intent in sorted(self._known)]

    def engine_listing(self) -> list[dict[str, object]]:
        """Every engine over its live instances, sorted by name."""
        names = sorted({advert.engine for advert in self._engines.values()})
        return [_engine([advert for advert in self.engines if advert.engine == name]) for name in names]

    def _row(self, intent: str) -> dict[str, object]:
        modules = [m for m in self._modules.values() if intent in m.intents]
        engines = {e.engine for e in self._engines.values() if intent in e.intents}
        return {
            "intent": intent,
            "engines": sorted(engines),
            "modules": [
                {"name": m.name, "version": m.version, "description": m.description, "input_schema": m.input_schema}
                for m in sorted(modules, key=lambda m: m.name)
            ],
        }

    def _count(self) -> None:
        answerers: list[ModuleRecord | EngineAdvert] = [*self._modules.values(), *self._engines.values()]
        self._known = frozenset(intent for answerer in answerers for intent in answerer.intents)
        self._speaking = dict(self._speeches())

    def _speeches(self) -> Iterator[tuple[str, Speech]]:
        for engine in self._engines.values():
            if engine.models:
                yield from ((intent, "reads" if intent == EMBEDDINGS else "answers") for intent in engine.intents)
        for module in self._modules.values():
            if module.openai is not None:
                speech: Speech = "reads" if isinstance(module.openai, EmbeddingsFace) else "answers"
                yield from ((intent, speech) for intent in module.intents)


def _engine(adverts: Sequence[EngineAdvert]) -> dict[str, object]:
    """One engine; a draining instance takes nothing more, so its slots do not count."""
    taking = [advert for advert in adverts if not advert.draining]
    return {
        "engine": adverts[0].engine,
        "route": adverts[0].route,
        "intents": sorted({intent for advert in adverts for intent in advert.intents}),
        "models": sorted({model for advert in adverts for model in advert.models}),
        "devices": sorted({device for advert in adverts for device in advert.devices}),
        "instances": len(adverts),
        "slots": sum(advert.slots for advert in taking),
        "free_slots": sum(advert.free_slots for advert in taking),
    }
