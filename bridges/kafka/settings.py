"""What the Kafka bridge can be told."""

from typing import Literal

from pydantic import Field, model_validator

from bridges.projection import ProjectionSettings


class KafkaSettings(ProjectionSettings):
    """One bridge over one log. The three timeouts nest: ours < the client's request < the transaction's."""

    bootstrap: str = Field(default="127.0.0.1:9092", description="host:port[,host:port...]")
    transactional_id: str = Field(default="aion-bridge-0", description="One per log; two bridges with one id fence.")
    prefix: str = Field(default="", pattern=r"^[a-z0-9._-]{0,64}$", description="Put before every topic name.")
    partitions: int = Field(default=4, ge=1, le=1024, description="Of every topic keyed by task or tenant.")
    replication: int = Field(default=1, ge=1, le=9)
    compression: Literal["none", "gzip", "lz4", "zstd"] = "zstd"
    retention_ms: int = Field(default=604_800_000, ge=-1, description="Of the event topics; -1 keeps everything.")
    batch_bytes: int = Field(default=900_000, ge=16_384, le=8_388_608, description="Of one batch to one partition.")
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

    @property
    def codec(self) -> str | None:
        """The compression in the client's words."""
        return None if self.compression == "none" else self.compression
