"""Every so-many-th sample of a latent, and a smooth way back that keeps the samples as they are (coarse start)."""

from __future__ import annotations

import numpy as np
import torch

from .precision import full_precision


def sample_points(full: int, coarse: int) -> np.ndarray:
    """Indices of the `coarse` samples of an axis of `full`, nearest to the coarse cells' centres.

    These are `⌊(i + ½)·full/coarse⌋`. Whole numbers throughout, so that no rounding of a fraction moves a sample.
    """
    return (2 * np.arange(coarse) + 1) * full // (2 * coarse)


def enlargement(full: int, coarse: int, wraps: bool = False) -> np.ndarray:
    """Matrix (full, coarse) of cubic interpolation through the samples at `sample_points`; rows add up to 1.

    Hermite's cubic with the slope of the two neighbours, which allows for the uneven distances of a fractional ratio.
    Beyond the outer samples the outer values repeat, or the axis goes round where it `wraps`.
    """
    points = sample_points(full, coarse)
    # Two samples more at each side: far enough for the slopes at the ends.
    around = np.arange(-2, coarse + 2)
    places = points[around % coarse] + full * (around // coarse)
    owners = around % coarse if wraps else around.clip(0, coarse - 1)
    matrix = np.zeros((full, coarse))
    for y in range(full):
        k = int(np.searchsorted(places, y, side="right")) - 1  # the last sample at or before y
        width = places[k + 1] - places[k]
        t = (y - places[k]) / width
        before, after = (1 - t) ** 2 * t * width, -(t**2) * (1 - t) * width
        shares = {k: (1 + 2 * t) * (1 - t) ** 2, k + 1: t**2 * (3 - 2 * t)}
        for at, slope in ((k, before), (k + 1, after)):
            span = places[at + 1] - places[at - 1]
            shares[at + 1] = shares.get(at + 1, 0.0) + slope / span
            shares[at - 1] = shares.get(at - 1, 0.0) - slope / span
        for at, share in shares.items():
            matrix[y, owners[at]] += share
    return matrix


class SampleGrid:
    """The samples of latents of one size. full, coarse: (height, width) in latent cells. wraps: for tiling pictures."""

    def __init__(self, full: tuple[int, int], coarse: tuple[int, int], device: torch.device, wraps: bool = False):
        self.full, self.coarse = full, coarse
        self._points = [
            torch.from_numpy(sample_points(f, c).astype(np.int64)).to(device) for f, c in zip(full, coarse, strict=True)
        ]
        matrices = [enlargement(f, c, wraps) for f, c in zip(full, coarse, strict=True)]
        up = [torch.from_numpy(m).to(torch.float32).to(device) for m in matrices]
        self._up = (up[0], up[1].T.contiguous())

    def sample(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, H, W) to (n, c, h, w)."""
        rows, columns = self._points
        return x.index_select(-2, rows).index_select(-1, columns)

    def enlarge(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) to (n, c, H, W), float32; `sample` gives `x` back but for rounding."""
        with full_precision(x.device):
            return torch.matmul(self._up[0], torch.matmul(x.float(), self._up[1]))
