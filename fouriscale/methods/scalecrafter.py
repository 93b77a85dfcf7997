"""ScaleCrafter (arXiv 2310.07702), to compare with: which layers are dilated, how much, how long.

Convolutions are dilated without a filter; a fractional dilation enlarges the input until it is a whole one
(section 3.2). With noise-damped guidance (section 3.4) the estimate without conditioning comes from a UNet that is
dilated less; the difference that the prompt makes still comes from the fully dilated one. The numbers are those of the
authors' published runs. Their dispersed kernels (section 3.3), which need matrices fitted in advance, are left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import SettingsError
from ..maths import schedule
from ..maths.schedule import Progress
from ..maths.sizes import Size
from ..settings.fields import METHODS
from ..settings.settings import Settings
from ..unet.layer import Layer
from .base import Frame, Method, Treatment

Blocks = Mapping[str, float]


@dataclass(frozen=True)
class Redilation:
    """What one run does. blocks: dilation by name prefix; damped: the same for the estimate without conditioning.

    damped: None where both estimates come from the same UNet. stop: fraction of the trajectory from which the UNet is
    plain. progressive: the dilation falls on the way there, to 2 at least.
    """

    blocks: Blocks
    damped: Blocks | None
    stop: float
    progressive: bool

    @property
    def largest(self) -> float:
        """The largest dilation of all blocks."""
        return max(self.blocks.values())

    def touches(self, layer: str) -> bool:
        """Whether the convolution with this canonical name is dilated in any row."""
        return _of(self.blocks, layer) > 1.0 or (self.damped is not None and _of(self.damped, layer) > 1.0)

    def at(self, layer: str, damped: bool, share: float) -> float:
        """Dilation of a convolution, possibly fractional; 1.0 leaves it plain.

        share: what annealing has left of the largest dilation, in (0, 1].
        """
        value = _of(self.damped if damped and self.damped is not None else self.blocks, layer)
        return max(float(math.ceil(value * share)), 2.0) if self.progressive and value > 1.0 else value


def _of(blocks: Blocks, layer: str) -> float:
    matches = [prefix for prefix in blocks if layer.startswith(prefix + ".")]
    return blocks[max(matches, key=len)] if matches else 1.0


def _uniform(names: tuple[str, ...], dilation: float) -> Blocks:
    return MappingProxyType(dict.fromkeys(names, dilation))


SD_BLOCKS = (
    "down_blocks.1", "down_blocks.2", "down_blocks.3", "mid_block", "up_blocks.0", "up_blocks.1", "up_blocks.2",
)  # fmt: skip
XL_BLOCKS = ("mid_block", "up_blocks.0")
SMALL_STOP = {"sd15": (0.6, 0.7), "sd21": (0.4, 0.6), "sdxl": (0.6, 0.6)}  # up to 2 times the side, up to 3 times
LARGE_STOP = {"sd15": 0.7, "sd21": 0.74, "sdxl": 0.7}
_SD_LARGE = {
    "down_blocks.1": 2, "down_blocks.2": 3, "down_blocks.3": 4, "mid_block": 4, "up_blocks.0": 4, "up_blocks.1": 3,
    "up_blocks.2": 2,
}  # fmt: skip
_SD21_SQUARE = {
    "down_blocks.2": 3, "down_blocks.2.downsamplers": 4, "down_blocks.3": 4, "mid_block": 4, "up_blocks.0": 4,
    "up_blocks.1": 4, "up_blocks.2": 3, "up_blocks.3": 2,
}  # fmt: skip
_XL_LARGE = {"down_blocks.2": 3, "mid_block": 4, "up_blocks.0": 4, "up_blocks.1": 3, "up_blocks.2": 2}


def published(family: str, scales: tuple[float, float]) -> Redilation:
    """The authors' run for a family and the picture's scales over the base, (smaller, larger), larger > 1.

    They published scales 2 and 2.5 (one dilation everywhere) and 4 on one or both sides (by block, annealed); sizes
    between take the next larger one's layers with their own scale.
    """
    smaller, larger = scales
    if larger <= 3.0:
        blocks = XL_BLOCKS if family == "sdxl" else SD_BLOCKS
        return Redilation(_uniform(blocks, larger), None, SMALL_STOP[family][larger > 2.0], progressive=False)
    square = smaller > 3.0
    damped: dict[str, float] | None
    if family == "sdxl":
        table = {**_XL_LARGE, "down_blocks.2": 4} if square else dict(_XL_LARGE)
        damped = {"mid_block": 2, "up_blocks.0": 2}
    elif family == "sd21":
        table = dict(_SD21_SQUARE if square else _SD_LARGE)
        damped = {k: v for k, v in _SD21_SQUARE.items() if k != "up_blocks.3"} if square else None
    else:
        table = dict(_SD_LARGE)
        damped = {k: v for k, v in _SD_LARGE.items() if k not in ("down_blocks.1", "up_blocks.2")}
    beyond = max(larger / 4.0, 1.0)  # larger than anything published: as much more
    scaled = MappingProxyType({k: v * beyond for k, v in table.items()})
    return Redilation(
        scaled, None if damped is None else MappingProxyType({k: v * beyond for k, v in damped.items()}),
        LARGE_STOP[family], progressive=True,
    )  # fmt: skip


@dataclass(frozen=True)
class ScaleCrafter(Method):
    """Re-dilation by block, with damped rows for uncond at large scales. own_base: see `decide`."""

    redilation: Redilation
    guidance: bool
    own_base: Size

    @classmethod
    def decide(cls, frame: Frame, settings: Settings) -> ScaleCrafter:
        """The authors' run for the picture's scales. They measure SDXL against its square training size."""
        base = frame.base
        if frame.family == "sdxl" and settings.base is None:
            base = (frame.structure.base, frame.structure.base)
        smaller, larger = sorted((frame.size[0] / base[0], frame.size[1] / base[1]))
        if settings.dilation is not None:
            smaller, larger = smaller * settings.dilation / larger, settings.dilation
        found = published(frame.family, (smaller, max(larger, 1.0)))
        if settings.stop is not None:
            found = dataclasses.replace(found, stop=settings.stop)
        chosen = frame.structure.select(settings.layers, frame.family)
        touched = tuple(layer for layer in frame.structure.convs if found.touches(layer.name))
        layers = touched if settings.layers == "published" else tuple(layer for layer in touched if layer in chosen)
        if not layers and found.largest > 1.0:
            allowed = f"layers that {METHODS['scalecrafter']} dilates at this size: none of these is among them"
            raise SettingsError("layers", settings.layers, allowed)
        start = 0.0 if found.progressive else found.stop
        return cls(frame, layers, start, found.stop, found, settings.guidance, base)

    @property
    def base(self) -> Size:
        """What the picture is measured against, (width, height) in pixels."""
        return self.own_base

    @property
    def dilation(self) -> float:
        """The largest of all blocks."""
        return self.redilation.largest

    @property
    def reason(self) -> str | None:
        """A stop of 0 switches it off, and so do scales that dilate nothing."""
        if self.stop == 0.0:
            return "stop is 0, so that every step is plain"
        return None if self.dilation > 1.0 else "the dilation is 1"

    @property
    def weak_label(self) -> str | None:
        """Uncond rows get a damped row where the authors' run has one (section 3.4)."""
        return "uncond" if self.guidance and self.redilation.damped is not None else None

    def dilation_at(self, progress: Progress) -> float | None:
        """The largest of all blocks: constant, or falling to 2 on the way to stop."""
        left = schedule.share_left(progress, self.stop)
        if left <= 0.0:
            return None
        return max(self.dilation * (left if self.redilation.progressive else 1.0), min(2.0, self.dilation))

    def treatment(self, layer: Layer, weak: bool, dilation: float, size: tuple[int, int], stride: int) -> Treatment:
        """Dilate by the block's own number; a fractional one enlarges the input until it is whole (section 3.2)."""
        value = self.redilation.at(layer.name, weak, dilation / self.dilation)
        whole = math.ceil(value)
        return Treatment(None, whole, whole / value)

    def whole_dilations(self, dilation: float) -> tuple[int, int]:
        """The largest of all blocks, for all rows."""
        return math.ceil(dilation), math.ceil(dilation)

    def of_part(self, layers: tuple[Layer, ...]) -> ScaleCrafter:
        """Without guidance."""
        return dataclasses.replace(self, layers=layers, guidance=False)

    def words(self) -> tuple[str, ...]:
        """Window, rows, dilations by step."""
        until = f"full until {self.stop:.0%} of the trajectory"
        if self.redilation.progressive:
            until = f"full until {self.start:.0%} of the trajectory, annealed until {self.stop:.0%}"
        damped = self.weak_label is not None
        without = "no damped rows" + " (guidance off)" * (not self.guidance)
        rows = "uncond and its damped row, cond" if damped else without
        steps = (f"{a}–{b} " + ("plain" if s == 1 else f"dilation {s}") for a, b, s, _ in self.steps())
        return (
            f"dilation {self.dilation:g}",
            f"{until}, plain after that",
            f"rows: {rows}",
            "of 50 steps: " + ", ".join(steps),
        )


METHOD = ScaleCrafter
