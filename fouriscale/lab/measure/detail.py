"""How much fine detail a picture has: the slope of its spectrum, and the variance of its Laplacian."""

from __future__ import annotations

import numpy as np

from .pixels import grey

LOW, HIGH, BINS = 0.05, 0.45, 20  # cycles per pixel


def spectral_slope(picture: np.ndarray) -> float:
    """Exponent b of the power spectrum, `P(f) ∝ f^b`: 0 for white noise, −2 for 1/f noise; blur makes it steeper.

    `picture`: (h, w, 3) or (h, w). Straight line through log P over log f of the Hann-windowed luma, P averaged over
    20 rings of equal width in log f from 0.05 to 0.45 cycles a pixel. NaN for a constant picture.
    """
    x = grey(picture).astype(float)
    x = (x - x.mean()) * np.hanning(x.shape[0])[:, None] * np.hanning(x.shape[1])[None]
    power = np.abs(np.fft.rfft2(x)) ** 2
    f = np.hypot(np.fft.fftfreq(x.shape[0])[:, None], np.fft.rfftfreq(x.shape[1])[None])
    inside = (f >= LOW) & (f < HIGH)
    ring = (np.log(f[inside] / LOW) / np.log(HIGH / LOW) * BINS).astype(int)
    count = np.bincount(ring, minlength=BINS)
    filled = count > 0
    means = np.bincount(ring, power[inside], BINS)[filled] / count[filled]
    centres = np.bincount(ring, np.log(f[inside]), BINS)[filled] / count[filled]
    if not (means > 1e-20 * x.size).all():
        return float("nan")
    return float(np.polyfit(centres, np.log(means), 1)[0])


def laplacian_variance(picture: np.ndarray) -> float:
    """Variance of the five-point Laplacian of the luma over the inner pixels, in the picture's unit squared.

    White noise of variance v has 20 v, as the stencil's squared weights sum to 16 + 4.
    """
    x = grey(picture).astype(float)
    inner = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1]
    return float(inner.var())
