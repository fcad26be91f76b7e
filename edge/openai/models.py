"""Which models this installation offers: intents that declare a face, and the models that engines advertise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge.openai.errors import UnknownModel
from edge.tasks.catalogue import Catalogue
from schemas.errors import Forbidden, InvalidRequest
from schemas.faces import CHAT, EMBEDDINGS, MODEL_CHAT, MODEL_EMBEDDINGS, ChatFace, EmbeddingsFace, Face
from schemas.registry import EngineAdvert
from schemas.task import Privacy

FaceT = TypeVar("FaceT", ChatFace, EmbeddingsFace, Face, covariant=True)

_KINDS = {ChatFace: "chat", EmbeddingsFace: "embeddings"}


@dataclass(frozen=True, slots=True)
class Offer(Generic[FaceT]):
    """A model's name, the intent behind it, and how they are translated. `engine` is the one that advertises it."""

    model: str
    intent: str
    face: FaceT
    owner: str
    engine: str | None = None
    local: bool = True

    def check_privacy(self, privacy: Privacy) -> None:
        """Raise `Forbidden` when a request that must stay here asks for a model that only a vendor has."""
        if not self.local and privacy is Privacy.LOCAL_ONLY:
            message = f"model {self.model!r} runs outside of this installation: allow it with sla.privacy 'allow-api'"
            raise Forbidden(message)


class Models:
    """Looks into the catalogue at each question, so that it follows what comes and goes.

    A package's intents come before engines' models of the same name, and local engines before others.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def find(self, model: str, kind: type[FaceT]) -> Offer[FaceT]:
        """The offer. Raises `UnknownModel`, and `InvalidRequest` for a model that does something else."""
        other = None
        for offer in self._offers():
            if offer.model == model:
                if isinstance(offer.face, kind):
                    return Offer(model, offer.intent, offer.face, offer.owner, offer.engine, offer.local)
                other = offer
        if other is not None:
            raise InvalidRequest(f"model {model!r} is for {_KINDS[type(other.face)]}: ask it for that")
        raise unknown(model)

    def get(self, model: str) -> dict[str, object]:
        """The model as OpenAI shows one. Raises `UnknownModel`."""
        found = next((offer for offer in self._offers() if offer.model == model), None)
        if found is None:
            raise unknown(model)
        return _shown(found)

    def listing(self) -> list[dict[str, object]]:
        """Every model once, by name."""
        first: dict[str, Offer[Face]] = {}
        for offer in self._offers():
            first.setdefault(offer.model, offer)
        return [_shown(first[model]) for model in sorted(first)]

    def _offers(self) -> Iterator[Offer[Face]]:
        for module in self._catalogue.modules:
            if module.openai is not None:
                for intent in module.intents:
                    yield Offer(intent, intent, module.openai, module.name)
        yield from _advertised([advert for advert in self._catalogue.engines if not advert.draining])


def unknown(model: str) -> UnknownModel:
    """The one answer for a model that is not there."""
    return UnknownModel(f"the model {model[:80]!r} does not exist: GET /v1/models lists them")


def _advertised(adverts: Sequence[EngineAdvert]) -> Iterator[Offer[Face]]:
    for advert in sorted(adverts, key=lambda one: one.route != "local"):
        local = advert.route == "local"
        for model in advert.models:
            if CHAT in advert.intents:
                yield Offer(model, CHAT, MODEL_CHAT, advert.engine, advert.engine, local)
            if EMBEDDINGS in advert.intents:
                yield Offer(model, EMBEDDINGS, MODEL_EMBEDDINGS, advert.engine, advert.engine, local)


def _shown(offer: Offer[Face]) -> dict[str, object]:
    """`created` is 0: when a model came to be is not known here."""
    return {"id": offer.model, "object": "model", "created": 0, "owned_by": offer.owner}
