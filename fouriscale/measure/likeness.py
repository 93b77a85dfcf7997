"""How far a picture's object is from the true drawing: both cut to the object's bounding box and compared pixel by pixel.

Size and place are free, mirroring too, as the model draws its objects so; all else counts: shape, parts, colours. At few
pixels a side that is layout, at many it is detail.
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
    image, box = _image(picture), object_box(picture) or whole
    found = {}
    for side in sides:
        made, true = _cut(image, box, side), _true(word, side)
        found[side] = min(float(np.sqrt(np.mean((made - t) ** 2))) for t in (true, true[:, ::-1]))
    return found


@lru_cache(maxsize=512)
def _true(word: str, side: int) -> np.ndarray:
    drawn = truth.on_white(truth.drawing(word))
    box = object_box(drawn)
    assert box is not None
    return _cut(_image(drawn), box, side)


def _image(picture: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(np.ascontiguousarray(picture[..., c], dtype=np.float32)) for c in range(3)]


def _cut(image: list[Image.Image], box: Box, side: int) -> np.ndarray:
    """The box at side × side, (side, side, 3): by cubic weights, as wide as a new pixel where it shrinks."""
    top, left, bottom, right = box
    planes = [plane.resize((side, side), Image.Resampling.BICUBIC, (left, top, right, bottom)) for plane in image]
    return np.stack([np.asarray(plane) for plane in planes], -1).clip(0, 1)
