"""How far a picture's object is from the true drawing: both cut to their bounding box and compared pixel by pixel.

Size and place are free, mirroring too, as the model draws its objects so; all else counts: shape, parts, colours.
At few pixels a side that is layout, at many it is detail.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from . import truth

SIDES = (16, 32, 64, 128, 224)  # pixels at which boxes are compared
DARKEST_WHITE = 0.9  # of 1: a pixel with a channel below it is no background
SPECK = 3  # pixels: narrower marks are opened away
SMALLEST = 0.02  # of the largest part's area: smaller parts do not move the box

Box = tuple[int, int, int, int]


def object_box(picture: np.ndarray) -> Box | None:
    """(top, left, bottom, right) of what is not background in `picture`, (h, w, 3) in [0, 1] on white; None if nothing.

    Marks narrower than 3 pixels and parts below 2 % of the largest are left out.
    """
    seen = ndimage.binary_opening(np.asarray(picture).min(-1) < DARKEST_WHITE, np.ones((SPECK, SPECK)))
    labels, found = ndimage.label(seen, np.ones((3, 3)))
    if not found:
        return None
    areas = np.bincount(labels.ravel())[1:]
    kept = np.flatnonzero(areas >= SMALLEST * areas.max()) + 1
    rows, columns = np.nonzero(np.isin(labels, kept))
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def distances(picture: np.ndarray, word: str, sides: tuple[int, ...] = SIDES) -> dict[int, float]:
    """Root mean square over the pixels and channels of both boxes at each of `sides`, squeezed to side × side.

    The nearer of the drawing and its mirror image, chosen at each side. `picture`: (h, w, 3) in [0, 1]; one without
    any object is compared as a whole. Raises KeyError for a word without a drawing.
    """
    whole = (0, 0, *np.shape(picture)[:2])
    top, left, bottom, right = object_box(picture) or whole
    box = picture[top:bottom, left:right]
    found = {}
    for side in sides:
        made, true = _squeezed(box, side), _true(word, side)
        found[side] = min(float(np.sqrt(np.mean((made - t) ** 2))) for t in (true, true[:, ::-1]))
    return found


@lru_cache(maxsize=512)
def _true(word: str, side: int) -> np.ndarray:
    drawn = truth.on_white(truth.drawing(word))
    top, left, bottom, right = object_box(drawn) or (0, 0, truth.SIDE, truth.SIDE)
    return _squeezed(drawn[top:bottom, left:right], side)


def _squeezed(box: np.ndarray, side: int) -> np.ndarray:
    """`box`, (h, w, 3), at (side, side, 3), by cubic weights that are as wide as a new pixel where it shrinks."""
    planes = [Image.fromarray(np.ascontiguousarray(box[..., c], dtype=np.float32)) for c in range(3)]
    made = [np.asarray(plane.resize((side, side), Image.Resampling.BICUBIC)) for plane in planes]
    return np.stack(made, -1).clip(0, 1)
