"""How many objects a picture holds, where its alpha channel is known."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def count_objects(alpha: np.ndarray, threshold: float = 0.5, smallest: float = 0.01) -> int:
    """Connected regions (8 neighbours) of `alpha` above `threshold`, (height, width), gains in [0, 1].

    smallest: share of the picture's area under which a region is a speck, not an object.
    """
    labels, found = ndimage.label(alpha > threshold, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=found + 1)[1:]
    return int((areas >= smallest * alpha.size).sum())
