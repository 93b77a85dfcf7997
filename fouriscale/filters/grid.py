"""Filter and dilated convolution on a coarser grid (fast mode): reduce, convolve plainly, enlarge.

A convolution dilated by d on a map without frequencies above 1/(2d) gives what the plain convolution gives on every
d-th sample, interpolated. FouriScale's strong filter leaves a little above that, and borders differ: not exact.
"""

from __future__ import annotations

import numpy as np
import torch

from .lowpass import FilterSpec, axis_mask
from .precision import full_precision
from .separable import SeparableFilter, bounded, circulant_block


class CoarseGrid:
    """Ready for one filter and step. step: how many samples of the fine grid make one of the coarse grid."""

    def __init__(self, spec: FilterSpec, step: int, device: torch.device):
        masks = [axis_mask(spec.kind, n, spec.scale, spec.stopband) for n in spec.periods]
        blocks = [circulant_block(mask, side)[::step] for mask, side in zip(masks, spec.size, strict=True)]
        self._reduce = SeparableFilter.of_matrices(blocks[0], blocks[1], device)
        up = [torch.from_numpy(cubic_enlargement(side, step)).to(device, torch.float32) for side in spec.size]
        self._up = (up[0], up[1].T.contiguous())

    def reduce(self, x: torch.Tensor) -> torch.Tensor:
        """Filter (n, channels, h, w) and keep every step-th sample: (n, channels, ⌈h/step⌉, ⌈w/step⌉)."""
        return self._reduce(x)

    def enlarge(self, x: torch.Tensor) -> torch.Tensor:
        """Interpolate back to (n, channels, h, w), in the dtype of `x`."""
        with full_precision(x.device):
            wide = torch.matmul(self._up[0], torch.matmul(x.float(), self._up[1]))
            return bounded(wide, x.dtype).to(x.dtype)


def cubic_enlargement(size: int, step: int) -> np.ndarray:
    """Matrix (size, ⌈size/step⌉) of cubic (Catmull-Rom) interpolation from every step-th sample; edges repeat."""
    count = -(-size // step)
    matrix = np.zeros((size, count))
    for i in range(size):
        k, t = i // step, (i % step) / step
        weights = (
            (-t + 2 * t**2 - t**3) / 2, (2 - 5 * t**2 + 3 * t**3) / 2, (t + 4 * t**2 - 3 * t**3) / 2, (t**3 - t**2) / 2,
        )  # fmt: skip
        for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
            matrix[i, min(max(k + offset, 0), count - 1)] += weight
    return matrix
