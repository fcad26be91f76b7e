"""Settings of the WASM executor (section `wasm`)."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class WasmSettings(BaseModel):
    """Where packages lie, and how many run at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages_dir: Path = Path("build/packages")
    cache_dir: Path = Path("var/cache/wasm")
    cells: int = Field(default=2, ge=1, le=256, description="Processes that run guests, one guest each at a time.")
    slots: int = Field(default=128, ge=1, le=4096, description="Tasks in hand per priority; the waiting fill cells.")
    cap: int = Field(default=1024, ge=1, description="Tasks in hand over all replicas of this engine, per priority.")
    ack_wait_s: float = Field(default=10.0, ge=0.5, description="A dead executor is noticed after this long.")
    advert_every_s: float = Field(default=2.0, gt=0)
    advert_ttl_s: float = Field(default=8.0, ge=2)
