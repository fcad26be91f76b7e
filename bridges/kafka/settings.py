"""What the Kafka bridge can be told."""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, model_validator

from bridges.projection import ProjectionSettings

MESSAGE_BYTES: Final = 2_097_152
"""What every topic lets a message have (`max.message.bytes`); a message is what one batch became."""
_MARGIN_BYTES: Final = 4096
"""A record's headers and the batch around it."""


class KafkaSettings(ProjectionSettings):
    """One bridge over one log. The three timeouts nest: ours < the client's request < the transaction's."""

    batch_events: int = Field(default=20_000, ge=1, le=50_000, description="The most events of one transaction.")
    linger_ms: int = Field(
        default=30,
        ge=0,
        le=1000,
        description="How long a batch that is not full waits for more at most: twice what the last write took.",
    )
    bootstrap: str = Field(default="127.0.0.1:9092", description="host:port[,host:port...]")
    tls: bool = Field(default=False, description="Speak TLS; naming a file below demands it as well.")
    tls_ca: Path | None = Field(default=None, description="PEM file; without one the system's authorities count.")
    tls_cert: Path | None = None
    tls_key: Path | None = None
    user: str | None = Field(default=None, min_length=1, description="With a password: SASL.")
    password: SecretStr | None = None
    mechanism: Literal["plain", "scram-sha-256", "scram-sha-512"] = "scram-sha-512"
    transactional_id: str = Field(default="aion-bridge-0", description="One per log; two bridges with one id fence.")
    prefix: str = Field(default="", pattern=r"^[a-z0-9._-]{0,64}$", description="Put before every topic name.")
    partitions: int = Field(default=4, ge=1, le=1024, description="Of every topic keyed by task or tenant.")
    replication: int = Field(default=1, ge=1, le=9)
    compression: Literal["none", "gzip", "lz4", "zstd"] = "zstd"
    retention_ms: int = Field(default=604_800_000, ge=-1, description="Of the event topics; -1 keeps everything.")
    batch_bytes: int = Field(default=1_900_000, ge=16_384, description="Of one batch to one partition.")
    record_bytes: int = Field(default=1_900_000, ge=16_384, description="A larger event goes to the dead letters.")
    transaction_timeout_ms: int = Field(default=15_000, ge=1000, le=900_000)
    request_timeout_ms: int = Field(default=10_000, ge=100)
    step_timeout_s: float = Field(default=8.0, gt=0, description="Of each step of a transaction; then it is in doubt.")

    @model_validator(mode="after")
    def _timeouts_nest(self) -> "KafkaSettings":
        if not self.step_timeout_s * 1000 < self.request_timeout_ms < self.transaction_timeout_ms:
            raise ValueError(
                f"step_timeout_s {self.step_timeout_s} < request_timeout_ms {self.request_timeout_ms} < "
                f"transaction_timeout_ms {self.transaction_timeout_ms} must hold, else a client retries in our back"
            )
        return self

    @model_validator(mode="after")
    def _messages_fit(self) -> "KafkaSettings":
        for name, most in (("batch_bytes", MESSAGE_BYTES), ("record_bytes", MESSAGE_BYTES - _MARGIN_BYTES)):
            if getattr(self, name) > most:
                raise ValueError(
                    f"{name} {getattr(self, name)} is over {most}: no batch of it would fit into the topics' "
                    f"max.message.bytes {MESSAGE_BYTES}, and each transaction would be refused"
                )
        return self

    @model_validator(mode="after")
    def _credentials_fit(self) -> "KafkaSettings":
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together: set both, or neither")
        if self.user is not None and self.mechanism == "plain" and not self.wants_tls:
            raise ValueError("mechanism plain would send the password in the clear: set tls, or take scram-sha-512")
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("tls_key is the key of a certificate: set tls_cert as well")
        return self

    @property
    def wants_tls(self) -> bool:
        """Whether brokers must speak TLS; plaintext is never fallen back to."""
        return self.tls or self.tls_ca is not None or self.tls_cert is not None

    @property
    def codec(self) -> str | None:
        """The compression in the client's words."""
        return None if self.compression == "none" else self.compression
