"""What the ledger can be told (section `postgres`)."""

from pydantic import Field, SecretStr

from bridges.projection import ProjectionSettings


class LedgerSettings(ProjectionSettings):
    """Where the tables are, and how long they may take."""

    linger_ms: int = Field(default=100, ge=0, le=1000, description="How long a batch that is not full waits for more.")
    url: SecretStr = Field(default=SecretStr("postgresql://aion@127.0.0.1:5432/aion"))
    query_connections: int = Field(default=4, ge=1, le=64, description="For questions; the projection has its own.")
    connect_timeout_s: float = Field(default=5.0, gt=0)
    write_timeout_s: float = Field(default=20.0, gt=0, description="Of each statement that writes.")
    query_timeout_s: float = Field(
        default=2.0, gt=0, description="Of each question, waiting for a connection included."
    )
