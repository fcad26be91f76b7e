"""What an operator may turn about limits: section `limits`. Without a rate, nothing is limited and nothing is asked."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MINUTE_US: Final = 60_000_000

RouteName = Annotated[str, StringConstraints(pattern=r"^[A-Z]+ /[!-~]*$", max_length=200)]
"""A method and a path, as docs/http.md writes it: `POST /v1/tasks`, `GET /v1/tasks/{task_id}`."""


class Rate(BaseModel):
    """A bucket of `burst`, refilled evenly at `rpm` a minute: at most `burst + rpm * t / 60` in any t seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rpm: int = Field(ge=1, le=6_000_000)
    burst: int = Field(ge=1, le=100_000_000)

    @property
    def interval_us(self) -> int:
        """Microseconds until one more fits."""
        return round(MINUTE_US / self.rpm)


class LimitsSettings(BaseModel):
    """Rates, and what to do while Redis (section `redis`) does not answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Rate | None = Field(default=None, description="Of each credential.")
    ip: Rate | None = Field(default=None, description="Of each client address; an IPv6 network of 64 bits is one.")
    tenant: Rate | None = Field(default=None, description="Of each tenant, over all its credentials.")
    tokens: Rate | None = Field(default=None, description="Tokens of language models, of each tenant.")
    answer_tokens: int = Field(
        default=512, ge=1, description="Reserved for an answer whose request does not say how long it may be."
    )
    routes: dict[RouteName, Rate] = Field(default={}, description="Of each tenant on these routes.")
    edges: int = Field(default=1, ge=1, description="Edges that share the limits: one alone admits that share of each.")
    answer_timeout_s: float = Field(default=0.05, gt=0, le=5, description="Redis is away when it takes longer.")
    retry_s: float = Field(default=0.5, gt=0, le=60, description="How often a Redis that is away is looked for.")
    max_buckets: int = Field(default=100_000, ge=100, description="Remembered in the process; the oldest is forgotten.")
    fields: Literal["draft-10", "off"] = Field(default="draft-10", description="RateLimit fields: the IETF draft's.")

    @property
    def wanted(self) -> bool:
        """Whether anything is limited."""
        return bool(self.key or self.ip or self.tenant or self.tokens or self.routes)
