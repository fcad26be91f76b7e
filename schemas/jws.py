"""The compact form of a signed token (RFC 7515 section 7.1), read strictly, before any key is looked at.

Everything that RFC 8725 warns of and that no token of ours needs is refused here by form alone: what is encrypted,
unsigned, nested, detached or critical, and whatever names or brings the key it wants to be checked with.
"""

import base64
import binascii
import json
import re
from typing import Any, Final, NamedTuple, NoReturn

from schemas.errors import Unauthenticated

MAX_CHARS: Final = 7168
"""Under the 8 KiB that HTTP servers take for a header."""
MAX_HEADER_CHARS: Final = 1024

_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_KID: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_ALLOWED: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""The last two are names of certificates that some issuers send along; nothing reads them."""


class Token(NamedTuple):
    """What a token says of itself; nothing is verified yet. `claims` is one JSON object without repeated members."""

    alg: str
    kid: str
    typ: str | None
    claims: bytes


def looks_signed(text: str) -> bool:
    """Whether `text` is meant as a token and not as an API key: those hold no dot."""
    return "." in text


def read_token(text: str) -> Token:
    """The parts of a token. Raises `Unauthenticated` for every form but the plain one."""
    if len(text) > MAX_CHARS:
        raise _refused(f"is longer than {MAX_CHARS} characters")
    found = _FORM.fullmatch(text)
    if found is None:
        raise _refused("has not three parts of base64url")
    if len(found[1]) > MAX_HEADER_CHARS:
        raise _refused(f"has a header of more than {MAX_HEADER_CHARS} characters")
    header = _object(_decoded(found[1]))
    if not header.keys() <= _ALLOWED:
        raise _refused("has a header with more than alg, kid and typ")
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(alg, str) or not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise _refused("has a header without alg and kid")
    if typ is not None and not isinstance(typ, str):
        raise _refused("has a header without a type")
    claims = _decoded(found[2])
    _object(claims)
    _decoded(found[3])
    return Token(alg, kid, typ, claims)


def _decoded(part: str) -> bytes:
    """Only the one spelling of the bytes is taken: unused bits of the last character are zero."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise _refused("is not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode("ascii"):
        raise _refused("is not base64url")
    return data


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = _STRICT.decode(data.decode())
    except (ValueError, RecursionError):
        raise _refused("holds no JSON") from None
    if not isinstance(found, dict):
        raise _refused("holds no JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _refused("names a member twice")
    return found


def _constant(_name: str) -> NoReturn:
    raise _refused("holds no JSON")


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"that token {why}")
