"""Every question an actor answers, typed. Verbs meet here, so that rooms never import one another."""

from typing import Final

from bus.port import Question
from schemas.ledger import LedgerGet, LedgerList, LedgerPage, LedgerTask

LEDGER_GET: Final = Question("ledger", "get", LedgerGet, LedgerTask)
"""Raises `NotFound` for an unknown task and for another tenant's."""

LEDGER_LIST: Final = Question("ledger", "list", LedgerList, LedgerPage)
