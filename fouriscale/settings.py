"""The one frozen record of everything a user can choose. Validated here, understood nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import SettingsError

FAMILIES = ("sd15", "sd21", "sdxl")
LAYER_SETS = ("published", "down+mid", "mid")


@dataclass(frozen=True)
class Settings:
    """What to do, independent of any UNet or picture size. ``None`` means: as the model family and size want it.

    family: "auto" (recognised by the UNet's structure), "sd15", "sd21" or "sdxl".
    start, stop: fractions of the trajectory in [0, 1]. Full dilation until `start`, then annealed linearly; from `stop`
        on the UNet is plain (paper, section 3.4 and supplement). Their order must be start ≤ stop.
    base: (width, height) in pixels that the model was trained at, multiples of 8; overrides recognition and buckets.
    dilation: overrides the dilation at the start, a number in [1, 16]; 1 switches the method off.
    layers: "published", "down+mid" or "mid", or a comma-separated list of canonical names, each may hold ``*``.
    guidance: estimate cond with the milder weak filter, at the price of extra rows (paper, section 3.4).
    filter: low-pass the input of dilated convolutions (paper, section 3.2).
    stopband_strong, stopband_weak: gain in [0, 1] that is left in the stop-band.

    Raises SettingsError on construction.
    """

    family: str = "auto"
    start: float | None = None
    stop: float | None = None
    base: tuple[int, int] | None = None
    dilation: float | None = None
    layers: str = "published"
    guidance: bool = True
    filter: bool = True
    stopband_strong: float | None = None
    stopband_weak: float | None = None

    def __post_init__(self) -> None:
        if self.family not in ("auto", *FAMILIES):
            raise SettingsError("family", self.family, "one of " + ", ".join(("auto", *FAMILIES)))
        for field in ("start", "stop", "stopband_strong", "stopband_weak"):
            self._number(field, 0.0, 1.0)
        self._number("dilation", 1.0, 16.0)
        if self.start is not None and self.stop is not None and self.start > self.stop:
            raise SettingsError("start", self.start, f"a number from 0 to stop ({self.stop})")
        for field in ("guidance", "filter"):
            if not isinstance(getattr(self, field), bool):
                raise SettingsError(field, getattr(self, field), "true or false")
        if not isinstance(self.layers, str) or not self.layers.replace(",", " ").strip():
            raise SettingsError("layers", self.layers, ", ".join(LAYER_SETS) + " or a list of canonical layer names")
        if self.base is not None:
            object.__setattr__(self, "base", _checked_base(self.base))

    def _number(self, field: str, low: float, high: float) -> None:
        value = getattr(self, field)
        if value is None:
            return
        allowed = f"a number from {low:g} to {high:g}, or empty for the family's own"
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise SettingsError(field, value, allowed)
        object.__setattr__(self, field, float(value))

    def replace(self, **changes: Any) -> Settings:
        """A copy with some fields changed. Raises SettingsError for an unknown field or a bad value."""
        return Settings.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as JSON or YAML can hold them; `from_dict` gives an equal object back."""
        values = dataclasses.asdict(self)
        values["base"] = None if self.base is None else list(self.base)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The reverse of `to_dict`; absent fields keep their defaults. Raises SettingsError for unknown fields."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise SettingsError(str(name), values[name], "unknown field; known are " + ", ".join(sorted(known)))
        return cls(**values)

    def non_defaults(self) -> dict[str, Any]:
        """The fields that differ from a fresh ``Settings()``, as `to_dict` gives them."""
        default = Settings().to_dict()
        return {k: v for k, v in self.to_dict().items() if v != default[k]}


def _checked_base(value: Any) -> tuple[int, int]:
    allowed = "two multiples of 8 from 64 to 4096: width and height in pixels"
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise SettingsError("base", value, allowed)
    try:
        sides = (int(value[0]), int(value[1]))
    except (TypeError, ValueError, OverflowError):
        raise SettingsError("base", value, allowed) from None
    if sides != tuple(value) or any(s % 8 or not 64 <= s <= 4096 for s in sides):
        raise SettingsError("base", value, allowed)
    return sides
