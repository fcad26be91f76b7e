"""Who is signed in, counted from what stands in `SESSIONS`: no count is stored, so no crash can leave one behind."""

import asyncio
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from actors.runtime import Context
from bus.subjects import SESSIONS
from schemas.errors import AionError
from schemas.message import Unreadable, decode
from schemas.tokens import FamilyRecord

UNSEEN_MS: Final = 10_000
"""A sign-in of our own counts for so long before the bucket shows it; after that it counts only if it is there."""
RETRY_S: Final = 5.0
_AT_ONCE: Final = 1000


class User(NamedTuple):
    """Who signed in."""

    tenant_id: str
    subject: str


class _SignIn(NamedTuple):
    user: User
    key: str | None


class Tally:
    """The families of the bucket by tenant and by user. `watch` must run, else it knows of our own sign-ins alone.

    Every auth actor counts for itself what all of them wrote, so a bound may be exceeded by what several admit in the
    moment before each hears of the others. About a kilobyte of memory for each family.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sign_ins: dict[str, _SignIn] = {}
        self._of_users: dict[User, list[str]] = {}
        self._of_tenants: Counter[str] = Counter()
        self._of_keys: Counter[str] = Counter()
        self._unseen_until_ms: dict[str, int] = {}
        self.complete = False
        """Whether all that stood in the bucket was counted."""

    @property
    def total(self) -> int:
        """All families."""
        return len(self._sign_ins)

    @property
    def keys(self) -> Collection[str]:
        """The API keys that vouched for somebody."""
        return self._of_keys.keys()

    def of_tenant(self, tenant_id: str) -> int:
        """How many families the tenant has."""
        self._forget_unseen()
        return self._of_tenants[tenant_id]

    def of_user(self, user: User) -> Sequence[str]:
        """His families, the one that was not used for longest first."""
        self._forget_unseen()
        return tuple(self._of_users.get(user, ()))

    def of_keys(self, keys: Collection[str]) -> list[str]:
        """The families that one of these API keys vouched for."""
        return [family for family, sign_in in self._sign_ins.items() if sign_in.key in keys]

    def expect(self, record: FamilyRecord) -> None:
        """Count a family that is about to be stored. Call `unexpect` when it was not."""
        self._unseen_until_ms[record.family] = self._context.now_ms() + UNSEEN_MS
        self._add(record.family, record)

    def unexpect(self, family: str) -> None:
        """It was not stored, as far as we know; the bucket may say otherwise."""
        if self._unseen_until_ms.pop(family, None) is not None:
            self._remove(family)

    def changed(self, family: str, value: bytes | None) -> None:
        """Something in the bucket was written or deleted. What is unreadable counts for nobody."""
        self._unseen_until_ms.pop(family, None)
        self._remove(family)
        if value is not None:
            try:
                self._add(family, decode(value, FamilyRecord))
            except Unreadable:
                return

    async def watch(self) -> None:
        """Follow the bucket until cancelled. While it cannot be read nothing is bounded: a count of a part is none."""
        log = self._context.log
        while True:
            try:
                async with self._context.bus.kv.view(SESSIONS, self.changed) as view:
                    await self._load(view)
                    log.info("auth.sessions_counted", sessions=self.total)
                    await asyncio.Event().wait()
            except AionError as error:
                log.warning("auth.sessions_not_counted", code=error.code, why=error.message, again_in_s=RETRY_S)
            await asyncio.sleep(RETRY_S)

    async def _load(self, view: Mapping[str, bytes]) -> None:
        """A view may be large: others have their turn meanwhile, and what changes meanwhile comes by `changed`."""
        for number, family in enumerate(tuple(view), start=1):
            value = view.get(family)
            if value is not None and family not in self._sign_ins:
                self.changed(family, value)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        self.complete = True

    def _add(self, family: str, record: FamilyRecord) -> None:
        tenant_id, key = sys.intern(record.tenant_id), sys.intern(record.key) if record.key is not None else None
        sign_in = _SignIn(User(tenant_id, record.subject), key)
        self._sign_ins[family] = sign_in
        self._of_users.setdefault(sign_in.user, []).append(family)
        self._of_tenants[tenant_id] += 1
        if key is not None:
            self._of_keys[key] += 1

    def _remove(self, family: str) -> None:
        sign_in = self._sign_ins.pop(family, None)
        if sign_in is None:
            return
        families = self._of_users[sign_in.user]
        families.remove(family)
        if not families:
            del self._of_users[sign_in.user]
        _take_one(self._of_tenants, sign_in.user.tenant_id)
        if sign_in.key is not None:
            _take_one(self._of_keys, sign_in.key)

    def _forget_unseen(self) -> None:
        """Whatever became of them, the bucket says so from now on."""
        now_ms = self._context.now_ms()
        while self._unseen_until_ms:
            family, until_ms = next(iter(self._unseen_until_ms.items()))
            if now_ms < until_ms:
                return
            self.unexpect(family)


def _take_one(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
