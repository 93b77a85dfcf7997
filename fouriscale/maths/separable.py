"""Filters that are products of one mask per axis in Fourier space, applied as small matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch


def circulant_block(mask: np.ndarray, size: int) -> np.ndarray:
    """Leading (size, size) block of the complex circulant matrix that applies `mask` (fftshift order) on its axis."""
    kernel = np.fft.ifft(np.fft.ifftshift(mask))
    index = np.arange(size)
    return kernel[(index[:, None] - index[None, :]) % len(mask)]


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast. Older torch knows no autocast on some devices and refuses to switch it off."""
    try:
        return torch.autocast(device.type, enabled=False)
    except RuntimeError:
        return nullcontext()


class SeparableFilter:
    """Zero-pad, transform, multiply by the outer product of two masks, transform back, real part, crop.

    masks: gains of the height and width axis in fftshift order; their lengths are the padded sizes. size: height and
    width of the feature map. Calling it maps (n, channels, h, w) to the same shape and dtype, in float32 within.
    """

    def __init__(self, masks: Sequence[np.ndarray], size: Sequence[int], device: torch.device):
        rows, columns = (circulant_block(mask, side) for mask, side in zip(masks, size, strict=True))
        self._set(rows, columns, device)

    @classmethod
    def of_matrices(cls, rows: np.ndarray, columns: np.ndarray, device: torch.device) -> SeparableFilter:
        """From the complex matrices themselves, (h_out, h) and (w_out, w): the real part of rows · x · columnsᵀ."""
        made = cls.__new__(cls)
        made._set(rows, columns, device)
        return made

    def _set(self, rows: np.ndarray, columns: np.ndarray, device: torch.device) -> None:
        def matrix(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)

        self._left = (matrix(rows.real), matrix(rows.imag))
        self._right = (matrix(columns.real.T), matrix(-columns.imag.T))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Filter `x`. Sums over whole rows lose too much in 16 bits, hence float32 also under autocast."""
        with full_precision(x.device):
            wide = x.float()
            real = torch.matmul(self._left[0], torch.matmul(wide, self._right[0]))
            imaginary = torch.matmul(self._left[1], torch.matmul(wide, self._right[1]))
            return real.add_(imaginary).to(x.dtype)
