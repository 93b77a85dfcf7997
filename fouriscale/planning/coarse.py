"""The coarse start of a run: which part of it the UNet works at which smaller size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..maths.sizes import Size
from .plans import Plan, Stage

# From this ratio of the sides on there is a level at half the picture's size between the training size and the full.
LEVELS_FROM = 3.0
# Of two levels, the smaller one ends at this share of the coarse part.
FIRST_LEVEL = 0.8


def coarse_size(size: Size, area: float) -> Size:
    """(width, height) in pixels of about `area` pixels in the shape of `size`, in whole latent cells of 8 pixels."""
    factor = (area / (size[0] * size[1])) ** 0.5
    width, height = (8 * max(1, round(side * factor / 8)) for side in size)
    return width, height


def stages(size: Size, base: Size, until: float, plan_at: Callable[[Size], Plan]) -> tuple[Stage, ...]:
    """The stages of a coarse start that ends at the fraction `until` of the trajectory.

    base: (width, height) of the training size in pixels. plan_at: what is done at a smaller size, held throughout. At
    the training size's area the UNet is plain in any shape.
    """
    area = base[0] * base[1]
    ratio = (size[0] * size[1] / area) ** 0.5
    smallest = coarse_size(size, area)
    plain = dataclasses.replace(plan_at(smallest), reason="it has the area that the model was trained at")
    if ratio < LEVELS_FROM:
        return (Stage(until, smallest, plain),)
    half = coarse_size(size, size[0] * size[1] / 4)
    return Stage(until * FIRST_LEVEL, smallest, plain), Stage(until, half, plan_at(half))
