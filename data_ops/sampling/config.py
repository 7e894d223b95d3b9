"""What can be configured of the reservoir?"""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from cluster.units import Settings, parse_duration


def _half_lives(value: object) -> object:
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(None if v is None or v == "none" else parse_duration(v) for v in values)


PositiveSeconds = Annotated[float, Field(gt=0)]


class ReservoirConfig(Settings):
    """The sample of everything ever seen that replay is drawn from."""

    capacity: int = Field(100_000, ge=1, description="documents held, split evenly over the half-lives")
    half_life: Annotated[tuple[PositiveSeconds | None, ...], BeforeValidator(_half_lives)] = Field(
        (30 * 86400.0, None),
        min_length=1,
        description="age that halves a document's chance, or none; several side by side",
    )
    shards: int = Field(1, ge=1, le=1024, description="Ray actors that hold the reservoir")

    @model_validator(mode="after")
    def _every_half_life_has_room(self) -> "ReservoirConfig":
        if len(set(self.half_life)) < len(self.half_life):
            raise ValueError(f"half_life={self.half_life} names one half-life twice; keep each once")
        if self.capacity < len(self.half_life):
            raise ValueError(
                f"capacity={self.capacity} is below the number of half-lives; use at least {len(self.half_life)}"
            )
        return self

    @property
    def half_lives_s(self) -> tuple[float | None, ...]:
        """The half-lives in seconds, None for no decay."""
        return self.half_life

    @property
    def capacities(self) -> tuple[int, ...]:
        """The documents held for each half-life; they add up to the capacity."""
        n = len(self.half_life)
        return tuple((self.capacity + i) // n for i in range(n))
