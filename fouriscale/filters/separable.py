"""Filters that are products of one mask per axis in Fourier space, applied as small matrix products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from .precision import full_precision

# Numbers that are filtered at a time: what fits a processor's cache, or what keeps other devices busy (64 MiB).
CPU_CHUNK, CHUNK = 2**20, 2**24
HALF_LIMIT = torch.finfo(torch.float16).max


def circulant_block(mask: np.ndarray, size: int) -> np.ndarray:
    """Leading (size, size) block of the complex circulant matrix that applies `mask` (fftshift order) on its axis."""
    kernel = np.fft.ifft(np.fft.ifftshift(mask))
    index = np.arange(size)
    return kernel[(index[:, None] - index[None, :]) % len(mask)]


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

    def __call__(self, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Filter `x`, into `out` where given. Sums over whole rows lose too much in 16 bits, hence float32 also under
        autocast; some planes at a time, so that the wider copies stay small. Where a gradient is wanted, and no `out`
        given, all at once: the pieces would be kept for it anyway.
        """
        if out is None and x.requires_grad and torch.is_grad_enabled():
            with full_precision(x.device):
                return bounded(self._filtered(x.float()), x.dtype).to(x.dtype)
        if out is None:
            out = x.new_empty(*x.shape[:2], self._left[0].shape[0], self._right[0].shape[1])
        limit = CPU_CHUNK if x.device.type == "cpu" else CHUNK
        with full_precision(x.device):
            for part in chunks(x.shape, limit):
                out[part] = bounded(self._filtered(x[part].float()), x.dtype)
        return out

    def _filtered(self, wide: torch.Tensor) -> torch.Tensor:
        real = torch.matmul(self._left[0], torch.matmul(wide, self._right[0]))
        return real.add_(torch.matmul(self._left[1], torch.matmul(wide, self._right[1])))


def bounded(wide: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`wide` within what `dtype` holds: filters overshoot at steps, which is infinite beyond the 65504 of float16."""
    return wide.clamp(-HALF_LIMIT, HALF_LIMIT) if dtype == torch.float16 else wide


def chunks(shape: Sequence[int], limit: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and channels that together cover (n, channels, h, w), each of `limit` numbers or one plane."""
    rows, channels = shape[:2]
    planes = max(limit // (shape[2] * shape[3]), 1)
    some = max(planes // channels, 1)
    per_row = -(-channels // planes)
    width = -(-channels // per_row)
    for row in range(0, rows, some):
        for channel in range(0, channels, width):
            yield slice(row, row + some), slice(channel, channel + width)
