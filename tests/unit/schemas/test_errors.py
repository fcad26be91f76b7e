import re

import pytest

from schemas import errors
from schemas.errors import AionError, Conflict, InvalidRequest, LogFull, Unavailable, WrongSequence


def _tree() -> list[type[AionError]]:
    found = [AionError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


ROW = re.compile(
    r"^[\s|`-]+(?P<name>[A-Z]\w+) +(?P<code>[a-z_]+) +(?P<http>\d{3}) +(?P<grpc>[A-Z_]+) +(?P<retry>yes|no)$"
)


def test_the_documented_tree_is_the_tree() -> None:
    rows = [match for line in (errors.__doc__ or "").splitlines() if (match := ROW.match(line))]
    documented = {row["name"]: (row["code"], int(row["http"]), row["grpc"], row["retry"] == "yes") for row in rows}
    actual = {kind.__name__: (kind.code, kind.http_status, kind.grpc_status, kind.retryable) for kind in _tree()[1:]}
    assert documented == actual


@pytest.mark.parametrize("kind", _tree(), ids=lambda kind: kind.__name__)
def test_every_error_keeps_its_message_and_when_to_come_back(kind: type[AionError]) -> None:
    error = kind("value 7 is wrong: use 8", retry_after_s=1.5)
    assert (str(error), error.message, error.retry_after_s) == ("value 7 is wrong: use 8",) * 2 + (1.5,)


def test_a_refused_append_is_a_conflict_and_a_full_log_is_not() -> None:
    assert issubclass(WrongSequence, Conflict)
    assert not WrongSequence.retryable
    assert issubclass(LogFull, Unavailable)
    assert LogFull.retryable


def test_nothing_a_client_did_wrong_is_worth_repeating() -> None:
    assert not any(kind.retryable for kind in _tree() if issubclass(kind, InvalidRequest))
