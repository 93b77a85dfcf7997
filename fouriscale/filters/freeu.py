"""FreeU, version 1 (arXiv 2309.11497): stronger backbone, weaker low frequencies in the skip connections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .separable import SeparableFilter, bounded


@dataclass(frozen=True)
class FreeU:
    """b1, s1 act where the backbone has 1280 channels, b2, s2 where it has 640."""

    b1: float
    b2: float
    s1: float
    s2: float

    def factors(self, backbone: int) -> tuple[float, float] | None:
        """(b, s) for a backbone of so many channels, or None where FreeU does nothing."""
        return {1280: (self.b1, self.s1), 640: (self.b2, self.s2)}.get(backbone)


PUBLISHED = {
    "sd15": FreeU(1.2, 1.4, 0.9, 0.2),
    "sd21": FreeU(1.1, 1.2, 0.9, 0.2),
    "sdxl": FreeU(1.1, 1.2, 0.6, 0.4),
}


def lowest_window(size: tuple[int, int], device: torch.device) -> SeparableFilter:
    """The filter that keeps the 2×2 window of frequencies −1 and 0 on both axes and drops the rest."""
    masks = []
    for side in size:
        mask = np.zeros(side)
        mask[max(side // 2 - 1, 0) : side // 2 + 1] = 1.0
        masks.append(mask)
    return SeparableFilter(masks, size, device)


def apply(x: torch.Tensor, backbone: int, b: float, s: float, window: SeparableFilter) -> torch.Tensor:
    """FreeU on the concatenation of backbone and skip features, (n, backbone + skip, h, w); a new tensor.

    The first half of the backbone's channels is multiplied by `b`; of the skip, the 2×2 window around zero frequency
    by `s`.
    """
    features, skip = x[:, :backbone], x[:, backbone:]
    half = backbone // 2
    wide = skip.float() + (s - 1.0) * window(skip.float())
    skip = bounded(wide, x.dtype).to(x.dtype)
    return torch.cat((features[:, :half] * b, features[:, half:], skip), dim=1)
