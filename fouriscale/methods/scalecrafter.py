"""ScaleCrafter's re-dilation (arXiv 2310.07702), as a method beside FouriScale: which layers, how much, how long.

Convolutions are dilated without a filter; a fractional dilation enlarges the input until it is a whole one
(section 3.2). With noise-damped guidance (section 3.4) the estimate without conditioning comes from a UNet that is
dilated less; the difference that the prompt makes still comes from the fully dilated one. The numbers are those of the
authors' published runs. Their dispersed kernels (section 3.3), which need matrices fitted in advance, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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
