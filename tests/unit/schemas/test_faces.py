"""A face is read strictly, and finds its places in a result."""

from typing import Any

import pytest

from schemas.faces import ChatFace, EmbeddingsFace, at, read_face

CHAT = {"kind": "chat", "takes": "messages", "param": "messages", "answer": "/message"}


def test_the_kind_says_which_face_it_is() -> None:
    assert isinstance(read_face(CHAT), ChatFace)
    assert isinstance(read_face({"kind": "embeddings", "param": "texts", "vectors": "/v"}), EmbeddingsFace)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "speech"},
        CHAT | {"answer": "message"},
        CHAT | {"answer": ""},
        CHAT | {"param": "two words"},
        CHAT | {"takes": "everything"},
        CHAT | {"vectors": "/v"},
        {"kind": "chat"},
        "chat",
    ],
)
def test_a_face_that_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_face(wrong)


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("/a", {"b/c": [1, {"~": "x"}]}),
        ("/a/b~1c/0", 1),
        ("/a/b~1c/1/~0", "x"),
        ("/a/b~1c/2", None),
        ("/a/b~1c/-1", None),
        ("/a/nothing/here", None),
        ("/z", None),
        (None, None),
    ],
)
def test_a_pointer_finds_its_place_or_nothing(pointer: str | None, found: object) -> None:
    assert at({"a": {"b/c": [1, {"~": "x"}]}}, pointer) == found
