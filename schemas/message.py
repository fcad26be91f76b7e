"""What actors say to one another: frozen messages and their one codec, chosen by measurement (ADR 0011).

What people write (task requests, manifests, settings) is read by pydantic, which names every fault at once.
"""

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast, dataclass_transform

import msgspec
from msgspec import Raw

__all__ = ["Decoder", "Message", "Raw", "Unreadable", "changed", "decode", "encode", "plain", "read"]

Unreadable = msgspec.DecodeError
"""The bytes are not JSON, or not the wanted message; the text names the place."""

Decoder = msgspec.json.Decoder
T = TypeVar("T")
M = TypeVar("M", bound="Message")


class _Messages(msgspec.StructMeta):
    """What holds for every message without being said at each: frozen, fields by name, unknown ones refused."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> "_Messages":
        rules = {"frozen": True, "kw_only": True, "forbid_unknown_fields": True}
        made: _Messages = super().__new__(cls, name, bases, namespace, **(rules | options))
        return made


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, frozen=True, metaclass=_Messages):
    """A frozen message: unknown fields are errors, so a typo is never silently dropped.

    Fields are checked when a message is decoded, not when it is made: there the type checker does it.
    """


_encoder = msgspec.json.Encoder()
_sorting = msgspec.json.Encoder(order="sorted")


def encode(message: object, *, sort_keys: bool = False) -> bytes:
    """A message, or JSON values, as compact JSON, fields in their order; infinite numbers become null."""
    return (_sorting if sort_keys else _encoder).encode(message)


def decode(data: bytes | str | Raw, kind: type[T]) -> T:
    """The `kind` in `data`, of which `Any` is one. Raises `Unreadable`."""
    found: T = read(_decoder(cast("Hashable", kind)), data)
    return found


def read(decoder: "Decoder[T]", data: bytes | str | Raw) -> T:
    """What a decoder of one's own finds in `data`. Raises `Unreadable`."""
    try:
        return decoder.decode(data)
    except RecursionError:
        raise Unreadable("it nests too deeply") from None
    except UnicodeError:  # of a text that is kept; msgspec 0.21 passes it on bare
        raise Unreadable("it holds a text that is not UTF-8") from None


@cache
def _decoder(kind: Hashable) -> "Decoder[Any]":
    return Decoder(kind)


def changed(message: M, **fields: object) -> M:
    """The same message with other values in `fields`, which are not checked."""
    return msgspec.structs.replace(message, **fields)


def plain(message: Message) -> dict[str, Any]:
    """The message as JSON values."""
    values: dict[str, Any] = msgspec.to_builtins(message)
    return values
