"""Embeddings: from a request to params, and from a result to an answer. Pure."""

import base64
import struct
from itertools import chain
from typing import Any

from edge.openai.chat import count
from edge.openai.errors import ParamRefused
from edge.openai.forms import EmbeddingsForm
from edge.openai.models import Offer
from edge.tasks.errors import FieldError
from schemas.errors import OutputInvalid
from schemas.faces import EmbeddingsFace, at
from schemas.result import TaskResult


def embeddings_params(form: EmbeddingsForm, offer: Offer[EmbeddingsFace]) -> dict[str, Any]:
    """The params of the task. Raises `ParamRefused` for a wanted length that this model cannot choose."""
    face = offer.face
    params: dict[str, Any] = {face.param: [form.input] if isinstance(form.input, str) else list(form.input)}
    if form.dimensions is not None:
        if face.dimensions is None:
            detail = f"the vectors of model {offer.model!r} have one length: leave it out"
            raise ParamRefused(f"dimensions: {detail}", [FieldError("/dimensions", detail)])
        params[face.dimensions] = form.dimensions
    return params | ({face.model_param: offer.model} if face.model_param else {})


def embeddings_answer(form: EmbeddingsForm, result: TaskResult, face: EmbeddingsFace) -> dict[str, object]:
    """OpenAI's list of embeddings. Raises `OutputInvalid` unless there is one vector for each text."""
    vectors = at(result.result, face.vectors)
    texts = 1 if isinstance(form.input, str) else len(form.input)
    if not _are_vectors(vectors) or len(vectors) != texts:
        raise OutputInvalid(f"the result of {result.intent} has not {texts} vectors at {face.vectors}")
    tokens = count(result, face.prompt_tokens)
    shown = _packed if form.encoding_format == "base64" else list
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": shown(vector)} for index, vector in enumerate(vectors)
        ],
        "model": form.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _packed(vector: list[float]) -> str:
    """32-bit floats, least significant byte first, in base 64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _are_vectors(found: Any) -> bool:
    if not isinstance(found, list) or not all(isinstance(vector, list) for vector in found):
        return False
    return all(isinstance(value, int | float) for value in chain.from_iterable(found))
