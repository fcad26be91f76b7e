"""What an operator may turn at the edge."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, model_validator

from schemas.ids import Token


class TlsSettings(BaseModel):
    """Certificates of every port of the edge (`AION_EDGE__TLS__...`). The files may be replaced while it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cert: Path | None = Field(default=None, description="PEM: the certificate and its chain. None: no TLS.")
    key: Path | None = Field(default=None, description="PEM, not encrypted; readable by the edge alone.")
    client_ca: Path | None = Field(default=None, description="PEM: who signs clients' certificates, then required.")
    client_tenants: dict[str, Token] = Field(
        default_factory=dict,
        description="Tenant by a DNS name or URI of a client's certificate, for calls without another credential.",
    )
    reload_s: float = Field(default=10.0, gt=0, description="How often the files are looked at.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.cert is None) != (self.key is None):
            missing = "KEY" if self.key is None else "CERT"
            raise ValueError(f"cert and key come together: set AION_EDGE__TLS__{missing} too")
        if self.client_ca is not None and self.cert is None:
            raise ValueError("client_ca is of no use without TLS: set AION_EDGE__TLS__CERT and AION_EDGE__TLS__KEY")
        if self.client_tenants and self.client_ca is None:
            raise ValueError("client_tenants needs verified certificates: set AION_EDGE__TLS__CLIENT_CA")
        return self


class GrpcSettings(BaseModel):
    """The gRPC door (`AION_EDGE__GRPC__...`); its host, message size and drain are those of the edge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int | None = Field(default=None, ge=0, le=65535, description="None: no gRPC; 0 takes a free port, for tests.")
    max_calls: int = Field(
        default=4096, ge=1, description="Calls with a credential at once; a sixteenth more for streams that need none."
    )
    keepalive_s: float = Field(default=60.0, ge=1, description="A connection this quiet is asked whether it lives.")
    max_idle_s: float = Field(default=600.0, ge=1, description="A connection without calls ends.")
    max_age_s: float = Field(default=3600.0, ge=1, description="A connection this old ends, so that load spreads.")
    reflection: bool = Field(default=True, description="Tell grpcurl and others which services and messages there are.")


class WsSettings(BaseModel):
    """The WebSocket door (`AION_EDGE__WS__...`); its frames are bounded by `max_body_bytes` and `max_depth`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_sockets: int = Field(default=2048, ge=1, description="Sockets at once; `tenant_share` of them for one tenant.")
    max_strangers: int = Field(
        default=256,
        ge=1,
        description="Sockets on which nobody has said yet who comes; a quarter of them for one address.",
    )
    max_subscriptions: int = Field(default=32, ge=1, description="Of one socket; each is one of `max_open_streams`.")
    max_requests: int = Field(default=32, ge=1, description="Submissions and cancels of one socket at once.")
    credit: int = Field(default=32, ge=1, description="Events of a subscription that says nothing of its credit.")
    max_credit: int = Field(default=1024, ge=1, description="What a subscription may have at most.")
    hello_timeout_s: float = Field(default=10.0, gt=0, description="For a first frame that says who comes.")
    ping_s: float = Field(default=20.0, gt=0, description="A socket this quiet is asked whether it lives.")
    pong_timeout_s: float = Field(default=10.0, gt=0, description="One that does not answer for so long is closed.")
    idle_timeout_s: float = Field(default=300.0, gt=0, description="So is one on which nothing is subscribed or asked.")


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
    max_headers: int = Field(default=100, ge=10, le=1000, description="Fields of a head; each has 8,190 bytes at most.")
    max_depth: int = Field(default=32, ge=1, le=200, description="Nesting of a JSON body; pydantic stops at 200.")
    head_timeout_s: float = Field(default=10.0, gt=0, description="For a whole head, from its first byte.")
    max_connections: int = Field(default=10_000, ge=1)
    max_connections_per_ip: int = Field(default=4096, ge=1, description="Trusted proxies may have more.")
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="Networks whose word on the client's address is believed."
    )
    proxy_field: Literal["X-Forwarded-For", "Forwarded"] = Field(
        default="X-Forwarded-For", description="The one field that the trusted proxies write; the other is not read."
    )
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
    max_lag_ms: float = Field(
        default=200.0,
        ge=0,
        description="A task that has this process work so long before it has ended is too much for it; 0: nothing is.",
    )
    max_reading: int = Field(default=512, ge=1, description="Reads and cancels at once.")
    max_open_streams: int = Field(default=1024, ge=1)
    tenant_share: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="Of the backlog and of the places for submissions, reads and streams, for one tenant.",
    )
    max_cached_keys: int = Field(default=10_000, ge=1, description="Verified keys and tokens that are remembered.")
    key_pepper: SecretStr | None = Field(
        default=None, description="What API keys are hashed under, as at the auth actor."
    )
    auth_timeout_s: float = Field(default=5.0, gt=0, description="How long a question to the auth actor may take.")
    recheck_s: float = Field(default=5.0, gt=0, description="First look into the log for a task that is waited for.")
    heartbeat_s: float = Field(default=15.0, gt=0)
    write_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="Who takes nothing of a stream for so long, or too little of an answer, is dropped.",
    )
    drain_grace_s: float = Field(default=10.0, ge=0, description="How long a drain lets requests finish waiting.")
    tls: TlsSettings = TlsSettings()
    grpc: GrpcSettings = GrpcSettings()
    ws: WsSettings = WsSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.default_wait_s > self.max_wait_s:
            raise ValueError(f"default_wait_s {self.default_wait_s} is over max_wait_s {self.max_wait_s}: lower it")
        if self.ws.credit > self.ws.max_credit:
            raise ValueError(f"ws.credit {self.ws.credit} is over ws.max_credit {self.ws.max_credit}: lower it")
        for origin in self.cors_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"cors_origins {origin[:80]!r} is not an origin: write https://host or https://host:port"
                )
        return self
