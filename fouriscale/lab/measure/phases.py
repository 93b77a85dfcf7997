"""How far the polyphase components of a picture or latent are apart, which dilated convolutions treat separately."""

from __future__ import annotations

import numpy as np


def phase_disagreement(x: np.ndarray, d: int) -> float:
    """`sqrt(mean((x_p − m)²)) / std(x)` over the d² phases x_p = x[i::d, j::d] and their mean m; 0 where they agree.

    x: (..., h, w); rows and columns beyond a multiple of d are left out; std is each channel's own, squared and
    averaged. White noise has `sqrt(1 − 1/d²)`. Constant blocks of d × d, aligned to the grid, have 0. NaN where x is
    constant.
    """
    h, w = (n - n % d for n in x.shape[-2:])
    x = x[..., :h, :w].astype(float)
    blocks = x.reshape(*x.shape[:-2], h // d, d, w // d, d)
    apart = blocks - blocks.mean((-3, -1), keepdims=True)
    variance = float(x.var((-2, -1)).mean())
    return float(np.sqrt((apart**2).mean() / variance)) if variance > 0 else float("nan")
