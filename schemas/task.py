"""What a client asks for."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from schemas.ids import Name, Token

MAX_BUDGET_USD: Final = 1_000_000


class Priority(StrEnum):
    """The lane a task waits in."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Privacy(StrEnum):
    """Where a task may run. It is frozen at acceptance and only ever shrinks."""

    LOCAL_ONLY = "local-only"
    ALLOW_API = "allow-api"
    HYBRID = "hybrid"


Usd = Annotated[
    Decimal,
    Field(ge=0, le=MAX_BUDGET_USD),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MAX_BUDGET_USD},
                {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})?$"},
            ]
        }
    ),
]


class Form(BaseModel):
    """What people fill in: frozen once read, every fault named at once, unknown fields among them."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sla(Form):
    """What the caller is ready to pay and wait, and where the data may go."""

    budget_usd: Usd | None = Field(default=None, description="Ceiling of the cost, USD.")
    p95_ms: int | None = Field(default=None, ge=1, le=3_600_000, description="Wanted latency, a routing hint.")
    privacy: Privacy = Privacy.LOCAL_ONLY
    timeout_s: float | None = Field(
        default=None, gt=0, le=1800, description="The task ends as TIMEOUT this long after acceptance."
    )


class TaskRequest(Form):
    """One task as the client hands it in; the tenant always comes from the credential, never from here."""

    schema_version: Literal["1.0"] = "1.0"
    task_id: Token | None = None
    tenant_id: Token | None = Field(default=None, description="Checked against the credential, never believed.")
    intent: Name
    params: dict[str, Any] = Field(default_factory=dict)
    preferred_engine: Name | None = None
    priority: Priority = Priority.NORMAL
    sla: Sla = Field(default_factory=Sla)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=32)
