"""Settings of the router (section `router`)."""

from pydantic import BaseModel, ConfigDict, Field


class RouterSettings(BaseModel):
    """How much one router takes at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slots: int = Field(default=128, ge=1, le=4096, description="Tasks in hand per priority.")
    wait_min_s: float = Field(default=0.25, gt=0, description="First pause when no engine is alive.")
    wait_max_s: float = Field(
        default=10.0,
        gt=0,
        description="Longest pause when no engine is alive; a task pauses about as long as it waited.",
    )
