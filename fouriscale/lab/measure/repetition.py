"""How much of a picture comes again elsewhere in it: the autocorrelation far from zero, and how alike its tiles are.

Both rest on Pearson's correlation over the overlap of an array and a shifted one, for every shift t at once:
`r(t) = (Σ ab − Σa Σb / n) / sqrt((Σ a² − (Σa)² / n)(Σ b² − (Σb)² / n))`, sums over the n pixels p of the overlap, with
a = A(p) and b = B(p + t), by zero-padded Fourier transforms.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import fft, ndimage

from .pixels import grey, shrink

NEAREST, FARTHEST = 0.3, 0.6  # of a side: nearer is the object itself, farther leaves too little overlap
LONGEST = 256  # pixels; repetition is coarse, and the transforms are not cheap
FLAT = 0.05  # of the picture's variance: parts with less are background and are like nothing


def repetition(picture: np.ndarray) -> float:
    """The highest peak of the autocorrelation beyond 0.3 of a side, in [0, 1]. `picture`: (h, w, 3) or (h, w).

    A peak is a local maximum over 5×5 shifts, so that the shoulder of one large object is none. Shifts beyond 0.6 of
    a side are left out. A picture tiled from equal parts has 1, white noise about 0.
    """
    x = _small(picture)
    h, w = x.shape
    r = correlation(x, x, FLAT * x.var())
    peaks = r >= ndimage.maximum_filter(r, 5) - 1e-12
    down = np.abs(np.arange(r.shape[0]) - (h - 1))[:, None] / h
    across = np.abs(np.arange(r.shape[1]) - (w - 1))[None] / w
    far = (np.maximum(down, across) >= NEAREST) & (down <= FARTHEST) & (across <= FARTHEST)
    return float(np.clip(r[peaks & far].max(initial=0.0), 0.0, 1.0))


def tile_likeness(picture: np.ndarray, rows: int, columns: int) -> float:
    """Mean over all pairs of the rows × columns tiles of their highest correlation at shifts up to a quarter tile.

    In [−1, 1]; 1 where all tiles are equal. NaN for a single tile. Blank tiles are like nothing: 0.
    """
    x = _small(picture)
    h, w = x.shape[0] // rows, x.shape[1] // columns
    tiles = [x[i * h : (i + 1) * h, j * w : (j + 1) * w] for i in range(rows) for j in range(columns)]
    near = np.s_[h - 1 - h // 4 : h + h // 4, w - 1 - w // 4 : w + w // 4]
    best = [correlation(a, b, FLAT * x.var())[near].max() for a, b in combinations(tiles, 2)]
    return float(np.mean(best)) if best else float("nan")


def correlation(a: np.ndarray, b: np.ndarray, flat: float = 0.0) -> np.ndarray:
    """Pearson's r of two (h, w) arrays for every shift, (2h − 1, 2w − 1); no shift is at [h − 1, w − 1].

    flat: variance up to which the overlap of either array counts as constant; r is 0 there.
    """
    h, w = a.shape
    # Sums of squares lose their digits to a large mean.
    a, b = a - a.mean(), b - b.mean()
    shape = (fft.next_fast_len(2 * h - 1, real=True), fft.next_fast_len(2 * w - 1, real=True))
    ones, fa, fb, faa, fbb = (fft.rfft2(x, shape) for x in (np.ones_like(a), a, b, a * a, b * b))

    def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        sums = fft.irfft2(first.conj() * second, shape)
        return np.roll(sums, (h - 1, w - 1), (0, 1))[: 2 * h - 1, : 2 * w - 1]

    n = np.outer(h - np.abs(np.arange(1 - h, h)), w - np.abs(np.arange(1 - w, w))).astype(float)
    sa, sb = overlap(fa, ones), overlap(ones, fb)
    va, vb = overlap(faa, ones) / n - (sa / n) ** 2, overlap(ones, fbb) / n - (sb / n) ** 2
    least = max(flat, 1e-9 * float(max(a.var(), b.var())))
    shown = (va > least) & (vb > least)
    product = np.where(shown, va * vb, 1.0)
    return np.where(shown, (overlap(fa, fb) / n - sa * sb / n**2) / np.sqrt(product), 0.0)


def _small(picture: np.ndarray) -> np.ndarray:
    x = grey(picture).astype(float)
    ratio = min(1.0, LONGEST / max(x.shape))
    return x if ratio == 1.0 else shrink(x, max(1, round(x.shape[0] * ratio)), max(1, round(x.shape[1] * ratio)))
