"""The low-pass filter of FouriScale (paper, section 3.2 and 3.4), as two small matrix products.

A mask over the FFT of a zero-padded feature map, of which only the real part of the inverse transform and only the
top-left, unpadded corner is kept. Since the mask is an outer product of two axis masks, the whole filter is
``Re(A_h)·X·Re(A_w)ᵀ − Im(A_h)·X·Im(A_w)ᵀ`` with A the leading block of
the circulant matrix that the axis mask stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from .separable import SeparableFilter

Kind = Literal["strong", "weak"]


def roll_off(kind: Kind, length: int, scale: float) -> float:
    """Width R of the mask's slope in samples.

    Many annealing steps put the weak width on an integer boundary, so the floor divisions and their order are part of
    the definition (float64 throughout).
    """
    if kind == "strong":
        return max(length // 8, 1)
    return (scale - 1) * length // (2 * scale)


def half_mask(kind: Kind, length: int, scale: float, stopband: float) -> np.ndarray:
    """Gains for the frequencies 0 … length/2 − 1 of one axis, float64, (length // 2,).

    length: even number of samples on the padded axis. scale: how many times the axis exceeds the training size, ≥ 1.
    stopband: the gain that is left beyond the slope, in [0, 1].
    """
    half = length // 2
    slope = roll_off(kind, length, scale)
    if slope == 0:
        return np.ones(half)
    j = np.arange(half, dtype=np.float64)
    return np.clip((1.0 - stopband) / slope * (half / scale + 1.0 - j) + 1.0, stopband, 1.0)


def axis_mask(kind: Kind, length: int, scale: float, stopband: float) -> np.ndarray:
    """The full axis mask in fftshift order, float64, (length,): the half mask mirrored about length/2 − ½."""
    half = half_mask(kind, length, scale, stopband)
    return np.concatenate([half[::-1], half])


@dataclass(frozen=True)
class FilterSpec:
    """One filter: which mask, over which padded periods, for which feature size. Hashable, so it keys the cache."""

    kind: Kind
    scale: float
    stopband: float
    periods: tuple[int, int]  # height, width of the padded feature map, both even
    size: tuple[int, int]  # height, width of the feature map itself

    @property
    def is_identity(self) -> bool:
        """True where both axis masks are 1 everywhere, which small scales give on small feature maps."""
        return all((half_mask(self.kind, n, self.scale, self.stopband) == 1.0).all() for n in self.periods)


def filters_alike(one: FilterSpec | None, other: FilterSpec | None) -> bool:
    """Whether two filters of the same feature map do the same; None does nothing."""
    if one is None or other is None:
        return all(spec is None or spec.is_identity for spec in (one, other))
    if one.periods != other.periods:
        return False
    masks = ([axis_mask(spec.kind, n, spec.scale, spec.stopband) for n in spec.periods] for spec in (one, other))
    return all(np.array_equal(a, b) for a, b in zip(*masks, strict=True))


class LowPass(SeparableFilter):
    """A low-pass filter made ready on a device."""

    def __init__(self, spec: FilterSpec, device: torch.device):
        masks = [axis_mask(spec.kind, n, spec.scale, spec.stopband) for n in spec.periods]
        super().__init__(masks, spec.size, device)
        self.spec = spec
        self.is_identity = spec.is_identity

    def __call__(self, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Filter `x`, (n, channels, h, w), into `out` where given; else the same tensor where nothing changes."""
        if not self.is_identity:
            return super().__call__(x, out)
        return x if out is None else out.copy_(x)
