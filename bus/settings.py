"""How to reach the bus and what the log is like (section `nats`: `AION_NATS__URL`, ...)."""

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

KEEP_S: Final = 3600.0
"""The log's window when nothing else is set."""


class BusSettings(BaseModel):
    """Connection and log settings; every actor of one installation must agree on the log's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default="nats://127.0.0.1:4222", description="Several servers of one cluster are separated by commas."
    )
    client: Literal["wire", "nats-py"] = Field(default="wire", description="AION's own client, or the library.")
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    tls_ca: Path | None = Field(default=None, description="PEM file; naming one demands TLS, as tls:// does.")
    tls_cert: Path | None = None
    tls_key: Path | None = None
    name: str = "aion"
    connect_timeout_s: float = Field(default=10.0, gt=0)
    replicas: int = Field(default=1, ge=1, le=5)
    keep_s: float = Field(default=KEEP_S, ge=10, description="The log's window; deadlines are capped at half of it.")
    max_bytes: int = Field(
        default=8 << 30, ge=1 << 20, description="Past it the log refuses appends: edges answer 503."
    )
    tokens_max_bytes: int = Field(default=256 << 20, ge=1 << 20)
    group_appends: bool = Field(
        default=True, description="Group appends into atomic batches when many wait (fsync mode)."
    )
    group_min: int = Field(default=16, ge=2, le=1000, description="Group from as many waiting appends on.")
    group_max: int = Field(default=256, ge=2, le=1000)
    max_waiting_appends: int = Field(default=8192, ge=1)
