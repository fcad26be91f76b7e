"""What an operator may turn at the edge."""

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


class EdgeSettings(BaseModel):
    """Bounds and addresses of one edge. Every bound is a refusal with a problem body, never a silent drop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free port, for tests.")
    reuse_port: bool = Field(default=False, description="Let several edges of one machine share the port (Linux).")
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Web pages that may call: https://host[:port] each, or * for any. None by default."
    )
    max_body_bytes: int = Field(default=262_144, ge=1024, le=786_432, description="A body becomes one log message.")
    max_depth: int = Field(default=32, ge=1, le=200, description="Nesting of a JSON body; pydantic stops at 200.")
    head_timeout_s: float = Field(default=10.0, gt=0, description="Until a connection has shown a request.")
    body_timeout_s: float = Field(default=10.0, gt=0, description="A body that is not complete by then is refused.")
    default_wait_s: float = Field(default=30.0, ge=0)
    max_wait_s: float = Field(default=60.0, ge=0, description="`Prefer: wait` is lowered to this.")
    default_timeout_s: float = Field(
        default=60.0, gt=0, description="A task's time when its SLA names none; at most half of the log's window."
    )
    accept_timeout_s: float = Field(default=5.0, gt=0, description="How long one append is tried before a 503.")
    max_waiting: int = Field(default=4096, ge=1, description="Submissions being accepted or waited for at once.")
    max_backlog: int = Field(
        default=20_000, ge=1, description="Tasks that wait for routers and executors, over all edges; then 503."
    )
    max_reading: int = Field(default=512, ge=1, description="Reads and cancels at once.")
    max_open_streams: int = Field(default=1024, ge=1)
    max_cached_keys: int = Field(default=10_000, ge=1)
    recheck_s: float = Field(default=5.0, gt=0, description="First look into the log for a task that is waited for.")
    heartbeat_s: float = Field(default=15.0, gt=0)
    write_timeout_s: float = Field(default=10.0, gt=0, description="A stream's reader that takes nothing is dropped.")
    drain_grace_s: float = Field(default=10.0, ge=0, description="How long a drain lets requests finish waiting.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.default_wait_s > self.max_wait_s:
            raise ValueError(f"default_wait_s {self.default_wait_s} is over max_wait_s {self.max_wait_s}: lower it")
        for origin in self.cors_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"cors_origins {origin[:80]!r} is not an origin: write https://host or https://host:port"
                )
        return self
