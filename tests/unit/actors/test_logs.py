"""Logs: structured, and silent about what must not leave."""

import io
import json
import logging

import pytest

from actors.runtime.logs import failure, open_logs
from actors.runtime.settings import RuntimeSettings
from schemas.errors import LogFull


def test_a_line_is_json_and_hides_payloads_and_secrets() -> None:
    out = io.StringIO()
    open_logs(RuntimeSettings(), out).info("said", params={"text": "private"}, token="private", count=2)
    line = json.loads(out.getvalue())
    assert (line["event"], line["count"], line["level"]) == ("said", 2, "info")
    assert "private" not in out.getvalue()


def test_libraries_speak_in_the_same_form_from_warnings_up() -> None:
    out = io.StringIO()
    open_logs(RuntimeSettings(), out)
    logging.getLogger("library").info("quiet")
    logging.getLogger("library").warning("loud")
    line = json.loads(out.getvalue())
    assert (line["event"], line["logger"], line["level"]) == ("loud", "library", "warning")


def test_a_level_below_the_configured_one_is_not_written() -> None:
    out = io.StringIO()
    open_logs(RuntimeSettings(log_level="warning"), out).info("quiet")
    assert out.getvalue() == ""


def test_an_error_of_ours_speaks_and_a_foreign_one_only_names_itself() -> None:
    assert failure(LogFull("full: raise max_bytes"))["message"] == "full: raise max_bytes"
    assert "input" not in str(failure(ValueError("input was private")))


@pytest.mark.parametrize("by_library", [False, True])
def test_an_exception_is_named_with_its_place_and_without_its_words(by_library: bool) -> None:
    out = io.StringIO()
    log = open_logs(RuntimeSettings(), out)
    try:
        raise ValueError("input was private")
    except ValueError:
        (logging.getLogger("library") if by_library else log).exception("broke")
    line = json.loads(out.getvalue())
    assert (line["event"], line["error"]) == ("broke", "ValueError")
    assert "test_logs.py" in line["at"][-1]
    assert "private" not in out.getvalue()
