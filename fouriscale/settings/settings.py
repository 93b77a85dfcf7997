"""Everything that a user can choose: the one table, which is two dataclasses. Every face is made from it.

The arguments of the API and their schema, the text in a picture, the axes of the X/Y/Z plot, the command's options, the
panel and the tables in docs/controls.md and docs/api.md all read `FIELDS`. Adding a choice is one entry here and the
code that uses its value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import SettingsError
from .fields import (
    AUTO,
    FAMILIES,
    LAYER_SETS,
    METHODS,
    PASSES,
    ROUNDINGS,
    Field,
    chosen,
    named,
)

PLAIN_UP_TO = 1.1  # ratio of a side to the base's side that a model bears without help
# By rounding "auto" a picture whose ratio is as near as this to a whole number from 2 on is planned as that multiple:
# the ways on both sides of the change differ least there (docs/quality.md).
WHOLE_WITHIN = 0.05
_OURS, _DILATING = ("fouriscale",), ("fouriscale", "scalecrafter")


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
    guidance: estimate cond with the milder weak filter, at the price of weak rows (paper, section 3.4).
    filter: low-pass the input of dilated convolutions (paper, section 3.2).
    stopband_strong, stopband_weak: gain in [0, 1] that is left in the stop-band.
    amp_guidance: factor in [1, 10] on the CFG scale before `start`, against blur; the authors use 2.4. Only with
        the method "fouriscale".
    freeu: True for the authors' FreeU values of the family, or (b1, b2, s1, s2), each in [0, 4].
    method: "fouriscale", or for comparison "scalecrafter" (arXiv 2310.07702) or "attn-entropy" (arXiv 2306.08645).
    low_memory: compute rows with weak rows and rows without in UNet calls of their own; the same picture.
    fast: compute weak rows in every second step, and use what they changed in the next; where the strong stop-band is
        0 and the dilation whole, convolve strong rows on a grid that is coarser by it. Not exact (docs/quality.md).
    rounding: what to do where the picture is no whole multiple of the base. "up": the next whole dilation, as the
        authors do. "exact": the ratio itself; a convolution's input is enlarged until the next larger dilation fits,
        and its output reduced again. "down": the same with the next smaller dilation on a reduced input. "auto": plain
        up to `PLAIN_UP_TO` times the side, a whole multiple from 2 on near one, else "down" below 2 and "up" beyond
        (docs/quality.md).
    coarse: fraction of the trajectory in [0, 1] until which the UNet works at the training size, on samples of the
        latent (docs/architecture.md, coarse start); 0 is off.

    Raises SettingsError on construction.
    """

    # fmt: off
    family: str = chosen(Field(
        "choice", "Model family", "Recognised from the model.", "auto", choices=("auto", *FAMILIES), key="family",
        layer="hidden",
    ))
    start: float | None = chosen(Field(
        "number", "FouriScale start", "Full strength until this fraction of the run.", position=7, argument=0.2,
        custom=True, key="start", axis="Start", option="--start", place=10, methods=_OURS,
    ))
    stop: float | None = chosen(Field(
        "number", "FouriScale stop", "Plain from this fraction on.", position=8, argument=0.6, custom=True, key="stop",
        axis="Stop", option="--stop", place=11, methods=_DILATING,
    ))
    dilation: float | None = chosen(Field(
        "number", "Dilation (0: by size)", "Dilation at the start, 1 to 16.", low=1.0, high=16.0, step=0.25, top=8.0,
        position=9, argument=0.0, unset=0.0, custom=True, key="dilation", axis="Dilation", option="--dilation",
        place=12, methods=_DILATING,
    ))
    layers: str = chosen(Field(
        "names", "FouriScale layers", "down+mid leaves the up blocks plain.", LAYER_SETS[0], choices=LAYER_SETS,
        position=3, key="layers", axis="Layers", option="--layers", info="down+mid leaves the up blocks plain.",
        layer="advanced", place=11, methods=_DILATING,
    ))
    guidance: bool = chosen(Field(
        "switch", "Guidance (detail, at the price of extra rows)", "Weak rows for cond: more detail, extra rows.", True,
        position=4, key="guidance", axis="Guidance", option="--guidance/--no-guidance", layer="advanced", place=20,
        methods=_DILATING,
    ))
    filter: bool = chosen(Field(
        "switch", "Low-pass filter", "Low-pass before dilated convolutions.", True, position=5, key="filter",
        axis="Filter", option="--filter/--no-filter", layer="advanced", place=21, methods=_OURS,
    ))
    base: tuple[int, int] | None = chosen(Field(
        "size", "Base size", "Training size as WIDTHxHEIGHT, for models trained at another.", position=10, argument="",
        unset="", custom=True, key="base", axis="Base size", option="--base",
        placeholder="auto, or WIDTHxHEIGHT", place=20,
    ))
    stopband_strong: float | None = chosen(Field(
        "number", "Strong stop-band (-1: by model)", "What the strong filter leaves of what it stops, 0 to 1.",
        position=11, argument=-1.0, unset=-1.0, custom=True, key="strong stop-band", axis="Strong stop-band",
        option="--stopband-strong", place=21, methods=_OURS,
    ))
    stopband_weak: float | None = chosen(Field(
        "number", "Weak stop-band (-1: by model)", "The same for the weak filter.", position=12, argument=-1.0,
        unset=-1.0, custom=True, key="weak stop-band", axis="Weak stop-band", option="--stopband-weak", place=22,
        methods=_OURS,
    ))
    amp_guidance: float = chosen(Field(
        "number", "Amplified guidance before start",
        "Factor on the CFG scale before start, 1 to 10, against blur: 2.4 for SDXL.", 1.0, low=1.0, high=10.0, step=0.1,
        top=4.0, position=13, key="amp guidance", axis="Amplified guidance", option="--amp-guidance", layer="advanced",
        place=31, methods=_OURS,
    ))
    freeu: bool | tuple[float, float, float, float] = chosen(Field(
        "freeu", "FreeU (the authors' values)",
        "FreeU with the published values of the model family; it acts on layers of 640 and 1280 channels.", False,
        position=14, key="FreeU", axis="FreeU", option="--freeu/--no-freeu",
        layer="advanced", place=23,
    ))
    method: str = chosen(Field(
        "choice", "Method", "The others are for comparison.", "fouriscale", choices=tuple(METHODS),
        labels=tuple(METHODS.values()), position=15, key="method", axis="Method", option="--method",
        info="The others are for comparison.",
        layer="advanced", place=30,
    ))
    low_memory: bool = chosen(Field(
        "switch", "Low memory (extra rows in a UNet call of their own)",
        "Extra rows in a UNet call of their own: the same picture, less memory, slower.", False, position=16,
        axis="Low memory", option="--low-memory", layer="advanced", place=32, methods=_DILATING,
    ))
    fast: bool = chosen(Field(
        "switch", "Fast (extra rows in every second step, not exact)",
        "Weak rows in every second step only, and coarser convolutions where the strong stop-band is 0: not exact.",
        False, position=17, key="fast", axis="Fast", option="--fast", layer="advanced", place=33, methods=_OURS,
    ))
    rounding: str = chosen(Field(
        "choice", "Between whole multiples", "What to do where the picture is no whole multiple of the training size.",
        "up", choices=ROUNDINGS, position=18, argument="auto", custom=True, key="rounding", absent="auto",
        axis="Rounding", place=23, methods=_OURS,
    ))
    # A picture's text from before there was a coarse start does not name it, and was made without one.
    coarse: float | None = chosen(Field(
        "number", "Coarse start (-1: by preset)",
        "Until this fraction of the run the picture is made at the training size; 0 is off.", position=19,
        argument=-1.0, unset=-1.0, key="coarse", absent=0.0, axis="Coarse start", option="--coarse", place=13,
    ))
    # fmt: on

    def __post_init__(self) -> None:
        for field in named(type(self)):
            object.__setattr__(self, field.name, field.checked(getattr(self, field.name)))
        if self.start is not None and self.stop and self.start > self.stop:
            raise SettingsError("start", self.start, f"a number from 0 to stop ({self.stop})")

    def replace(self, **changes: Any) -> Settings:
        """A copy with some fields changed. Raises SettingsError for an unknown field or a bad value."""
        return Settings.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as JSON or YAML can hold them; `from_dict` gives an equal object back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The reverse of `to_dict`; absent fields keep their defaults. Raises SettingsError for unknown fields."""
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise SettingsError(str(name), values[name], "unknown field; known are " + ", ".join(sorted(known)))
        return cls(**values)

    def non_defaults(self) -> dict[str, Any]:
        """The fields that differ from a fresh ``Settings()``, as `to_dict` gives them."""
        default = Settings().to_dict()
        return {k: v for k, v in self.to_dict().items() if v != default[k]}


@dataclass(frozen=True)
class PanelChoices:
    """What only a WebUI asks, beside the settings: whether, by which preset, in which pass."""

    # fmt: off
    enabled: bool = chosen(Field(
        "switch", "FouriScale", "Take part in this generation.", False, position=0, key="", axis="Enabled",
        layer="first",
    ))
    preset: str = chosen(Field(
        "text", "FouriScale preset", "Auto, the name of a preset, or Custom.", AUTO, position=1, key="preset",
        axis="Preset", info="Auto follows model and size. Custom uses the sliders below.", layer="first",
    ))
    passes: str = chosen(Field(
        "choice", "Pass", "Which of the two passes of hires fix.", PASSES[0],
        choices=PASSES, buttons=True, position=2, key="pass", axis="Pass", layer="advanced", place=10,
    ))
    size_conditioning: bool = chosen(Field(
        "switch", "Tell SDXL the base size instead of the real one", "What SDXL is told of its picture's size.", True,
        position=6, key="size conditioning", layer="advanced", place=22, families=("sdxl",),
    ))
    # fmt: on


SETTINGS_FIELDS = named(Settings)
FIELDS = (*named(PanelChoices), *SETTINGS_FIELDS)
BY_NAME: Mapping[str, Field] = MappingProxyType({field.name: field for field in FIELDS})
ARGUMENTS = tuple(sorted((f for f in FIELDS if f.position is not None), key=lambda f: f.position or 0))
