"""`aionctl auth`: the keys that sign tokens, and the end of sign-ins."""

from actors.cli.exits import Exit
from actors.cli.key import WAIT_S, at
from actors.cli.options import Json
from actors.cli.output import emit
from actors.cli.session import ask, visit
from bus.questions import AUTH_REVOKE, AUTH_SIGNING_ROTATE
from schemas.identity import SigningRotate, TokenRevoke
from schemas.ids import subject_token
from schemas.message import plain


def rotate(*, as_json: Json = False) -> int:
    """Begin to sign access tokens with a new key. Tokens that were or will be signed with the old one stay good."""
    found = visit(lambda bus: ask(bus, AUTH_SIGNING_ROTATE, SigningRotate(), wait_s=WAIT_S))
    emit(plain(found), as_json=as_json, text=f"{found.kid} signs from {at(found.signs_from_ms)}")
    return Exit.OK


def revoke(family: str, /, *, as_json: Json = False) -> int:
    """End a sign-in: its refresh token and its access tokens are refused from then on.

    Parameters
    ----------
    family
        Its id, which the audit events token_issued and token_refreshed name.
    """
    asked = TokenRevoke(family=subject_token(family))
    visit(lambda bus: ask(bus, AUTH_REVOKE, asked, wait_s=WAIT_S))
    emit({"family": family, "revoked": True}, as_json=as_json, text=f"{family} revoked")
    return Exit.OK
