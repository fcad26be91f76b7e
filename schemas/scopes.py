"""What a credential may do. A route names one scope; who lacks it is refused with that name."""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

Scope: TypeAlias = Literal["tasks:submit", "tasks:read", "tasks:cancel", "tokens:issue", "admin"]
"""Plain text, not an enum: membership is checked at every request."""

SUBMIT: Final = "tasks:submit"
READ: Final = "tasks:read"
CANCEL: Final = "tasks:cancel"
ISSUE_TOKENS: Final = "tokens:issue"
"""Vouch for users: `POST /v1/auth/token` with a `subject`."""
ADMIN: Final = "admin"
"""Every other scope, those that are yet to come included."""

ALL: Final[tuple[Scope, ...]] = get_args(Scope)
DEFAULT: Final[tuple[Scope, ...]] = ("tasks:submit", "tasks:read", "tasks:cancel")
"""What a credential may do that names no scopes, as keys made before there were any."""


def reach(scopes: Iterable[Scope]) -> frozenset[str]:
    """Every scope that these grant."""
    granted = frozenset(scopes)
    return frozenset(ALL) if ADMIN in granted else granted
