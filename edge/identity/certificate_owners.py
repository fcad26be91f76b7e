"""From a client's verified certificate to a caller, where an operator said so."""

from collections.abc import Iterable, Mapping
from typing import Final

from actors.runtime.refusals import Refusals, stranger
from edge.identity.caller import Caller
from schemas.errors import Unauthenticated
from schemas.ids import TenantId
from schemas.scopes import DEFAULT, reach

NAMES_OF_CLIENTS: Final = frozenset({"DNS", "URI"})
"""The kinds of subject alternative names (RFC 5280 section 4.2.1.6) that say who a client is."""


class CertificateOwners:
    """Tenants by the names of certificates. Whoever asks must have let TLS verify the certificate."""

    def __init__(self, tenants: Mapping[str, str], refusals: Refusals) -> None:
        self._refusals = refusals
        self._callers = {
            name: Caller(TenantId(tenant), f"certificate:{name}", reach(DEFAULT)) for name, tenant in tenants.items()
        }

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._callers)

    def know(self, names: Iterable[str]) -> bool:
        """Whether any of these names is somebody's."""
        return any(name in self._callers for name in names)

    def caller_of(self, names: Iterable[str]) -> Caller:
        """Whom a certificate with these names speaks for. Raises `Unauthenticated` unless it is exactly one tenant."""
        found = [self._callers[name] for name in names if name in self._callers]
        if len({caller.tenant_id for caller in found}) != 1:
            self._refusals.note(stranger("a certificate that names no tenant"))
            raise Unauthenticated(
                "no API key, and the certificate names no tenant: send Authorization: Bearer aion_..."
            )
        return found[0]
