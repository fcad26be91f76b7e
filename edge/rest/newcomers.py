"""Who comes for tokens with a credential that the auth actor alone can judge: a refresh token, an id token."""

from collections import OrderedDict

from aiohttp import web

from edge.http.front import CALLER
from edge.http.gate import Gate
from edge.identity.access import caller_of_answer
from edge.identity.caller import Caller


class Newcomers:
    """Counts them for the caller that they turn out to be; `Front` has counted them for their address.

    By then the request is done: a refresh token is used up, a sign-in is stored. A refusal would cost the user his
    sign-in, so it is counted and refused nothing. What an edge has seen proven before is refused ahead of the auth
    actor, once its caller is known to have nothing left: until then anybody may say so, and nothing is taken for it.
    """

    def __init__(self, gate: Gate | None, most: int) -> None:
        self._gate = gate
        self._most = most
        self._callers: OrderedDict[str, Caller] = OrderedDict()
        """By what names the credential and is no secret."""

    def check(self, request: web.BaseRequest, credential: str | None) -> None:
        """Raise `RateLimited` when the caller of the credential is known, and is known to have nothing left."""
        if self._gate is None or credential is None or CALLER in request:
            return
        caller = self._callers.get(credential)
        if caller is not None:
            self._gate.check_known(request, caller)

    async def count(self, request: web.BaseRequest, credential: str | None, access_token: str, *, by_key: bool) -> None:
        """The credential was good for this token: count the request, unless the API key that came along paid for it."""
        if self._gate is None or CALLER in request:
            return
        caller = caller_of_answer(access_token, by_key=by_key)
        if caller is None:
            return
        if credential is not None:
            self._callers[credential] = caller
            self._callers.move_to_end(credential)
            while len(self._callers) > self._most:
                self._callers.popitem(last=False)
        await self._gate.count_known(request, caller)
