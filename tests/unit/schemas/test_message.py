"""The one codec: whatever the bytes are, the answer is the message or `Unreadable`."""

from typing import Any

import pytest

from schemas.message import Unreadable, decode


@pytest.mark.parametrize("kind", [Any, dict[str, Any], dict[str, str]])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"text":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"text":"\xed\xa0\x80"}', id="half a character"),
        pytest.param(b'{"\xff":"text"}', id="no UTF-8 in a name"),
        pytest.param('{"text":"\ud800"}', id="half a character in a text"),
        pytest.param(b'{"text":"\\ud800"}', id="half a character, escaped"),
        pytest.param(b'{"text":1e999}', id="infinite"),
        pytest.param(b'{"text":' + b"[" * 60_000, id="nested"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_json_is_unreadable(kind: Any, data: bytes | str) -> None:
    with pytest.raises(Unreadable):
        decode(data, kind)
