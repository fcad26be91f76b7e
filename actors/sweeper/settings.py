"""Settings of the sweeper (section `sweeper`)."""

from pydantic import BaseModel, ConfigDict, Field


class SweeperSettings(BaseModel):
    """When a task is overdue, and whom the log waits for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace_s: float = Field(default=1.0, ge=0, le=4, description="Past the deadline, before the sweeper ends a task.")
    required: tuple[str, ...] = Field(default=("kafka", "ledger"), description="Projections that nothing may outrun.")
    window_every_s: float = Field(default=2.0, gt=0)
    mark_every_s: float = Field(
        default=5.0,
        gt=0,
        description="How often it tells where open tasks begin, for who starts.",
    )
