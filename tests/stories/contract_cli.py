"""schemathesis' own command line, with a fresh Idempotency-Key in each request that has a good one.

Otherwise almost every body would be refused for its key, which named another one before (422), and nothing else of it
be tried.
"""

import re
import uuid
from typing import Any

import schemathesis
from schemathesis import cli

GOOD = re.compile(r"[\x21-\x7e]{1,200}")
KEY = "Idempotency-Key"


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Only what is sent changes, never what was judged to be right or wrong about it."""
    sent = case.headers or {}
    if GOOD.fullmatch(str(sent.get(KEY, ""))):
        sent[KEY] = f"{sent[KEY]}-{uuid.uuid4()}"


if __name__ == "__main__":
    cli.schemathesis()
