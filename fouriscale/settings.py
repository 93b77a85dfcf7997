"""The one frozen record of everything a user can choose. Validated here, understood nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import SettingsError

FAMILIES = ("sd15", "sd21", "sdxl")
LAYER_SETS = ("published", "down+mid", "mid")
ROUNDINGS = ("up", "exact", "down", "auto")
PLAIN_UP_TO = 1.1  # ratio of a side to the base's side that a model bears without help
# By rounding "auto" a picture whose ratio is as near as this to a whole number from 2 on is planned as that multiple:
# the ways on both sides of the change differ least there (docs/quality.md).
WHOLE_WITHIN = 0.05
METHODS = ("fouriscale", "scalecrafter", "attn-entropy")


@dataclass(frozen=True)
class Settings:
    """What to do, independent of any UNet or picture size. ``None`` means: as the model family and size want it.

    family: "auto" (recognised by the UNet's structure), "sd15", "sd21" or "sdxl".
    start, stop: fractions of the trajectory in [0, 1]. Full dilation until `start`, then annealed linearly; from `stop`
        on the UNet is plain (paper, section 3.4 and supplement). Their order must be start ≤ stop, but a stop of 0
        switches the method off whatever start is.
    base: (width, height) in pixels that the model was trained at, multiples of 8; overrides recognition and buckets.
    dilation: overrides the dilation at the start, a number in [1, 16]; 1 switches the method off.
    layers: "published", "down+mid" or "mid", or a comma-separated list of canonical names, each may hold ``*``.
    guidance: estimate cond with the milder weak filter, at the price of extra rows (paper, section 3.4).
    filter: low-pass the input of dilated convolutions (paper, section 3.2).
    stopband_strong, stopband_weak: gain in [0, 1] that is left in the stop-band.
    amp_guidance: factor in [1, 10] on the CFG scale before `start`, against blur; the authors use 2.4. Only with
        the method "fouriscale".
    freeu: True for the authors' FreeU values of the family, or (b1, b2, s1, s2), each in [0, 4].
    method: "fouriscale", or for comparison "scalecrafter" (arXiv 2310.07702) or "attn-entropy" (arXiv 2306.08645).
    low_memory: compute rows with twins and rows without in UNet calls of their own; the same picture.
    fast: compute weak twins in every second step, and use what they changed in the next; where the strong stop-band is
        0 and the dilation whole, convolve strong rows on a grid that is coarser by it. Not exact (docs/quality.md).
    rounding: what to do where the picture is no whole multiple of the base. "up": the next whole dilation, as the
        authors do. "exact": the very ratio; the input of a convolution is enlarged until the next larger dilation fits,
        and its output reduced again. "down": the same with the next smaller dilation on a reduced input. "auto": plain
        up to `PLAIN_UP_TO` times the side, a whole multiple from 2 on near one, else "down" below 2 and "up" beyond
        (docs/quality.md).

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
    amp_guidance: float = 1.0
    freeu: bool | tuple[float, float, float, float] = False
    method: str = "fouriscale"
    low_memory: bool = False
    fast: bool = False
    rounding: str = "up"

    def __post_init__(self) -> None:
        if self.family not in ("auto", *FAMILIES):
            raise SettingsError("family", self.family, "one of " + ", ".join(("auto", *FAMILIES)))
        for field in ("start", "stop", "stopband_strong", "stopband_weak"):
            self._number(field, 0.0, 1.0)
        self._number("dilation", 1.0, 16.0)
        if self.amp_guidance is None:
            object.__setattr__(self, "amp_guidance", 1.0)
        self._number("amp_guidance", 1.0, 10.0)
        object.__setattr__(self, "freeu", _checked_freeu(self.freeu))
        if self.start is not None and self.stop and self.start > self.stop:
            raise SettingsError("start", self.start, f"a number from 0 to stop ({self.stop})")
        if self.method not in METHODS:
            raise SettingsError("method", self.method, "one of " + ", ".join(METHODS))
        if self.rounding not in ROUNDINGS:
            raise SettingsError("rounding", self.rounding, "one of " + ", ".join(ROUNDINGS))
        for field in ("guidance", "filter", "low_memory", "fast"):
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
        allowed = f"a number from {low:g} to {high:g}, or empty for the default"
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise SettingsError(field, value, allowed)
        object.__setattr__(self, field, float(value))

    def replace(self, **changes: Any) -> Settings:
        """A copy with some fields changed. Raises SettingsError for an unknown field or a bad value."""
        return Settings.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as JSON or YAML can hold them; `from_dict` gives an equal object back."""
        values = dataclasses.asdict(self)
        for field in ("base", "freeu"):
            if isinstance(values[field], tuple):
                values[field] = list(values[field])
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


def _checked_freeu(value: Any) -> bool | tuple[float, float, float, float]:
    if isinstance(value, bool):
        return value
    allowed = "true, false, or four numbers from 0 to 4: b1, b2, s1, s2"
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise SettingsError("freeu", value, allowed)
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number <= 4.0:
            raise SettingsError("freeu", value, allowed)
    b1, b2, s1, s2 = (float(number) for number in value)
    return b1, b2, s1, s2
