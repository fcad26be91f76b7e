"""Who asks, once the credential was verified."""

from dataclasses import dataclass

from schemas.ids import TenantId


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant a request acts for, the credential it came with, and all that it may do.

    `name` is safe in logs, in audit events and as the name of a limit: `key:<key_id>`, `user:<issuer>/<subject>` or
    `certificate:<name>`.
    """

    tenant_id: TenantId
    name: str
    scopes: frozenset[str]
