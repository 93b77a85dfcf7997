"""Numbers that describe a picture without a trained network: random projections of pixels and of random filters.

Every weight is drawn once from `numpy.random.RandomState(SEED)`, whose stream never changes: the same picture has the
same features everywhere. Such features see layout, colour and texture, not meaning: distances between them compare
methods on one model, and are no FID.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .pixels import shrink

SEED = 2403
FILTERS, TAPS, GRID = 16, 5, 4
KEPT = 32  # dimensions of each projection
SIDE = 256  # pixels, the largest side that `structure` looks at
PATCHES, PATCH = 8, 64  # patches of a picture, and their side in pixels


def structure(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """64 features of the whole `picture`, (h, w, 3) in [0, 1], averaged down to side × side first (squeezed, if wide).

    32 are a projection of its 16×16 thumbnail, 32 one of the rectified random filters' means in 4×4 cells at four
    levels, each half the size of the one before. side: the base size, but no more than 256.
    """
    small = shrink(picture, side, side)
    thumbnail = shrink(small, 16, 16).ravel()
    cells = np.concatenate([shrink(level, GRID, GRID).ravel() for level in _responses(small, 4)])
    return np.concatenate([thumbnail @ _projection(thumbnail.size), cells @ _projection(cells.size)])


def patches(picture: np.ndarray, seed: int, side: int = PATCH) -> np.ndarray:
    """(8, 32) features of 8 patches at full resolution, side × side, at places drawn from `seed`.

    Means and standard deviations of the rectified random filters at three levels, projected.
    """
    rng = np.random.RandomState(seed % 2**32)
    found = []
    for _ in range(PATCHES):
        top, left = (rng.randint(n - side + 1) for n in picture.shape[:2])
        levels = _responses(picture[top : top + side, left : left + side], 3)
        found.append(np.concatenate([f((0, 1)) for level in levels for f in (level.mean, level.std)]))
    return np.stack(found) @ _projection(found[0].size)


def _responses(picture: np.ndarray, levels: int) -> list[np.ndarray]:
    """Rectified responses (h, w, 16) at each level; edges are mirrored."""
    found = []
    for level in range(levels):
        if level:
            picture = shrink(picture, -(-picture.shape[0] // 2), -(-picture.shape[1] // 2))
        padded = np.pad(picture, ((TAPS // 2,) * 2, (TAPS // 2,) * 2, (0, 0)), "symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (TAPS, TAPS), (0, 1))
        found.append(np.maximum(windows.reshape(*picture.shape[:2], -1) @ _filters(), 0.0))
    return found


@lru_cache
def _filters() -> np.ndarray:
    """(75, 16): each filter has mean 0 in each colour, and norm 1."""
    weights = np.random.RandomState(SEED).standard_normal((3, TAPS * TAPS, FILTERS))
    weights -= weights.mean(1, keepdims=True)
    return (weights / np.sqrt((weights**2).sum((0, 1)))).reshape(-1, FILTERS)


@lru_cache
def _projection(size: int) -> np.ndarray:
    return np.random.RandomState(SEED + size).standard_normal((size, KEPT)) / np.sqrt(size)
