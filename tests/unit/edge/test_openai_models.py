"""Which models are offered, and who answers when several could."""

from typing import Any

import pytest

from edge.openai.errors import UnknownModel
from edge.openai.models import Models
from edge.tasks.catalogue import Catalogue
from schemas.errors import Forbidden, InvalidRequest
from schemas.faces import CHAT, EMBEDDINGS, ChatFace, EmbeddingsFace, Face
from schemas.message import encode
from schemas.registry import EngineAdvert, ModuleRecord
from schemas.task import Privacy

SAYS = ChatFace(takes="last-user-message", param="text", answer="/said")
COUNTS = EmbeddingsFace(param="texts", vectors="/vectors")


def module(name: str, face: Face | None, *intents: str) -> bytes:
    return encode(ModuleRecord(name=name, version="1.0.0", digest="sha256:" + "0" * 64, intents=intents, openai=face))


def advert(engine: str, instance: str, *models: str, **more: Any) -> bytes:
    common: dict[str, Any] = {"route": "local", "intents": (CHAT, EMBEDDINGS), "slots": 4, "free_slots": 3} | more
    return encode(EngineAdvert(engine=engine, instance=instance, models=models, **common))


def models_of(modules: dict[str, bytes], engines: dict[str, bytes]) -> Models:
    catalogue = Catalogue()
    catalogue.load(modules, engines)
    return Models(catalogue)


def test_every_intent_of_a_package_with_a_face_is_a_model_and_no_other() -> None:
    models = models_of({"a": module("a", SAYS, "echo", "talk"), "b": module("b", None, "plain")}, {})
    assert [model["id"] for model in models.listing()] == ["echo", "talk"]
    assert models.find("talk", ChatFace).intent == "talk"
    with pytest.raises(UnknownModel):
        models.find("plain", ChatFace)


def test_a_package_comes_before_an_engine_and_a_local_engine_before_a_vendor() -> None:
    engines = {
        "far.1": advert("far", "1", "echo", "llm", route="api"),
        "near.1": advert("near", "1", "llm"),
    }
    models = models_of({"a": module("a", SAYS, "echo")}, engines)
    assert models.find("echo", ChatFace).engine is None
    assert models.find("llm", ChatFace).engine == "near"
    models.find("llm", ChatFace).check_privacy(Privacy.LOCAL_ONLY)
    assert models.find("echo", EmbeddingsFace).engine == "far"
    with pytest.raises(Forbidden, match="allow-api"):
        models.find("echo", EmbeddingsFace).check_privacy(Privacy.LOCAL_ONLY)
    models.find("echo", EmbeddingsFace).check_privacy(Privacy.ALLOW_API)


def test_a_draining_instance_offers_nothing_and_what_left_is_unknown() -> None:
    catalogue = Catalogue()
    catalogue.load({}, {"near.1": advert("near", "1", "llm"), "near.2": advert("near", "2", "old", draining=True)})
    models = Models(catalogue)
    assert [model["id"] for model in models.listing()] == ["llm"]
    catalogue.engine_changed("near.1", None)
    with pytest.raises(UnknownModel):
        models.get("llm")


def test_a_model_is_asked_for_what_it_does() -> None:
    models = models_of({"a": module("a", COUNTS, "count")}, {"e.1": advert("e", "1", "llm", intents=(CHAT,))})
    with pytest.raises(InvalidRequest, match="embeddings"):
        models.find("count", ChatFace)
    with pytest.raises(InvalidRequest, match="chat"):
        models.find("llm", EmbeddingsFace)


def test_engines_are_shown_over_their_live_instances() -> None:
    catalogue = Catalogue()
    engines = {
        "e.1": advert("e", "1", "b", devices=("cuda:0",)),
        "e.2": advert("e", "2", "a"),
        "e.3": advert("e", "3", "a", draining=True),
    }
    catalogue.load({}, engines)
    assert catalogue.engine_listing() == [
        {
            "engine": "e", "route": "local", "intents": [CHAT, EMBEDDINGS], "models": ["a", "b"],
            "devices": ["cuda:0"], "instances": 3, "slots": 8, "free_slots": 6,
        }
    ]  # fmt: skip
