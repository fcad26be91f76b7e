"""Every question an actor answers, typed. Verbs meet here, so that rooms never import one another."""

from typing import Final

from bus.port import Question
from schemas.identity import (
    KeyCreate,
    KeyIssued,
    KeyRevoke,
    KeyRevoked,
    KeyRotate,
    SigningRotate,
    SigningRotated,
    TokenIssue,
    TokenRefresh,
    TokenRevoke,
    TokenRevoked,
    Tokens,
)
from schemas.ledger import LedgerGet, LedgerList, LedgerPage, LedgerTask

LEDGER_GET: Final = Question("ledger", "get", LedgerGet, LedgerTask)
"""Raises `NotFound` for an unknown task and for another tenant's."""

LEDGER_LIST: Final = Question("ledger", "list", LedgerList, LedgerPage)

AUTH_KEY_CREATE: Final = Question("auth", "key_create", KeyCreate, KeyIssued)

AUTH_KEY_ROTATE: Final = Question("auth", "key_rotate", KeyRotate, KeyIssued)
"""Raises `NotFound`, `Conflict` for a key that is revoked or has expired."""

AUTH_KEY_REVOKE: Final = Question("auth", "key_revoke", KeyRevoke, KeyRevoked)
"""Raises `NotFound`. May be repeated."""

AUTH_TOKEN: Final = Question("auth", "token", TokenIssue, Tokens)
"""Raises `Unauthenticated`, `InsufficientScope`, `InvalidRequest`."""

AUTH_REFRESH: Final = Question("auth", "refresh", TokenRefresh, Tokens)
"""Raises `Unauthenticated`; a token that was used before ends its whole family."""

AUTH_REVOKE: Final = Question("auth", "revoke", TokenRevoke, TokenRevoked)

AUTH_SIGNING_ROTATE: Final = Question("auth", "signing_rotate", SigningRotate, SigningRotated)
