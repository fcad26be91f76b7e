"""What the ledger can be told (section `postgres`)."""

from pydantic import Field, SecretStr

from bridges.projection import ProjectionSettings


class LedgerSettings(ProjectionSettings):
    """Where the tables are, and how long they may take."""

    linger_ms: int = Field(
        default=100,
        ge=0,
        le=1000,
        description="How long a batch that is not full waits for more at most: twice what the last write took.",
    )
    url: SecretStr = Field(
        default=SecretStr("postgresql://aion@127.0.0.1:5432/aion"),
        description="The server itself: a session holds the claim to write, which a transaction pooler would lose.",
    )
    query_connections: int = Field(default=4, ge=1, le=64, description="For questions; the projection has its own.")
    connect_timeout_s: float = Field(default=5.0, gt=0)
    write_timeout_s: float = Field(default=20.0, gt=0, description="Of each statement that writes.")
    silence_s: float = Field(
        default=10.0, ge=1, description="A writer that PostgreSQL hears nothing of for so long gives way to another."
    )
    query_timeout_s: float = Field(
        default=2.0, gt=0, description="Of each question, waiting for a connection included."
    )
