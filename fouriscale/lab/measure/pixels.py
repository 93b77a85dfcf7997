"""What all measures begin with: the brightness of a picture, and smaller pictures by averaging."""

from __future__ import annotations

import numpy as np


def grey(picture: np.ndarray) -> np.ndarray:
    """Luma (ITU-R BT.601) of an RGB picture (height, width, 3); the unit stays. A (height, width) array is its own."""
    return picture if picture.ndim == 2 else picture @ np.array([0.299, 0.587, 0.114])


def shrink(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """`picture`, (h, w) or (h, w, c), at another size: each new pixel is the mean of the area that it covers.

    Sides may grow as well; then pixels are repeated, in fractions where the ratio is no whole number.
    """
    rows, columns = _areas(picture.shape[0], height), _areas(picture.shape[1], width)
    return np.einsum("yh,hw...,xw->yx...", rows, picture, columns, optimize=True)


def _areas(old: int, new: int) -> np.ndarray:
    """(new, old): the share of each old pixel in each new one; rows sum to 1."""
    edges = np.arange(new + 1) * old / new
    pixels = np.arange(old)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(covered, 0.0, None) * new / old
