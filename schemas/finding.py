"""What a look at one part of an installation found: the words of `aionctl doctor`."""

from schemas.message import Message


class Finding(Message):
    """One thing looked at; `fix` is what to do about it, empty when all is well."""

    name: str
    ok: bool
    found: str
    fix: str = ""
