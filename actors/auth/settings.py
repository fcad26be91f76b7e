"""What an operator may turn at the auth actor (section `auth`)."""

from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from schemas import scopes
from schemas.ids import Name
from schemas.scopes import Scope

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def is_safe_url(url: str) -> bool:
    """Whether keys may be fetched from there: https, or http on this machine; nothing but a host and a path."""
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        plain = parts.port != 0 and not (parts.username or parts.password or parts.fragment)
    except ValueError:
        return False
    return secure and plain and bool(parts.hostname) and url.isascii() and url.isprintable() and " " not in url


class Issuer(BaseModel):
    """One OpenID provider whose id tokens are traded for AION's, and for which tenants it may speak."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Stands before its users' names: `user:<name>/<sub>`. `local` is taken.")
    issuer: str = Field(description="Exactly the `iss` of its tokens; its discovery document is found under it.")
    audience: str = Field(min_length=1, description="The client id that its tokens must be meant for.")
    tenant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}$")
    tenant_claim: str | None = Field(default=None, min_length=1)
    tenants: tuple[str, ...] = Field(default=(), description='The tenants that `tenant_claim` may name; "*": any.')
    scopes: tuple[Scope, ...] = scopes.DEFAULT

    @field_validator("issuer")
    @classmethod
    def _safe(cls, value: str) -> str:
        if not is_safe_url(value) or "?" in value:
            raise ValueError("use an https address, or http on this machine, without a query")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name == "local":
            raise ValueError("the name local is for users that API keys vouch for: choose another")
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError("set either tenant or tenant_claim")
        if (self.tenant_claim is None) != (not self.tenants):
            raise ValueError('tenants belongs to tenant_claim: list who may be named, or "*"')
        return self


class AuthSettings(BaseModel):
    """Lifetimes, secrets and trusted issuers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_pepper: SecretStr | None = Field(
        default=None, description="What API keys are hashed under, the same at every edge; old ones follow the new one."
    )
    issuer: str = Field(default="aion", min_length=1, max_length=255, description="The `iss` of access tokens.")
    folder: Path = Field(default=Path("var/auth"), description="Where the private keys lie, readable for us alone.")
    passphrase: SecretStr | None = Field(default=None, description="Encrypts the private keys in the folder.")
    access_ttl_s: int = Field(default=600, ge=10, le=3600)
    refresh_ttl_s: int = Field(default=30 * 86_400, ge=60, le=365 * 86_400, description="From sign-in to the next.")
    max_sessions_per_tenant: int = Field(
        default=50_000, ge=1, description="Sign-ins of one tenant; then whoever is new there gets a 429."
    )
    max_sessions_per_subject: int = Field(
        default=100, ge=1, description="Sign-ins of one user; then the one that was not used for longest ends."
    )
    rotate_every_s: int = Field(default=7 * 86_400, ge=60)
    lead_s: float = Field(default=60.0, ge=0, le=3600, description="A new key is published so long before it signs.")
    tick_s: float = Field(default=10.0, gt=0)
    issuers: tuple[Issuer, ...] = ()
    issuer_refresh_s: float = Field(default=60.0, gt=0, description="How often an issuer's keys are fetched.")
    issuer_stale_s: float = Field(default=86_400.0, ge=0, description="How long they serve while it does not answer.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what in ("name", "issuer"):
            if len({getattr(issuer, what) for issuer in self.issuers}) != len(self.issuers):
                raise ValueError(f"two issuers have the same {what}")
        return self
