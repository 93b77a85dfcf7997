"""What a picture is measured against: base, scale, and the ratio to dilate by."""

from __future__ import annotations

from ..maths import sizes
from ..maths.sizes import Size
from ..methods import method_class
from ..methods.base import Frame
from ..settings.settings import PLAIN_UP_TO, WHOLE_WITHIN, Settings
from ..unet.structure import Structure


def frame_of(structure: Structure, family: str, size: Size, settings: Settings) -> Frame:
    """The frame of a picture of `size`, (width, height) in pixels."""
    base = _base(structure, family, size, settings)
    whole = _treated_as(size, base, settings)
    scale = whole or sizes.ceil_scale(size, base)
    dilation = _dilation(size, base, scale, whole, settings)
    return Frame(structure, family, size, base, scale, dilation, rounding_at(settings, dilation))


def nothing_to_do(frame: Frame, settings: Settings) -> str | None:
    """Why a picture of this size needs no method at all, as a sentence, or None."""
    if settings.dilation == 1.0:
        return "the dilation is set to 1"
    if settings.dilation is not None:
        return None
    trained = f"the {sizes.px(frame.base)} that the model was trained at"
    if frame.scale == 1:
        return f"{sizes.px(frame.size)} is not larger than {trained}"
    if settings.rounding == "auto" and _ratio(frame.size, frame.base) <= PLAIN_UP_TO:
        return f"up to {PLAIN_UP_TO:g} times {trained}, a model needs no help"
    return None


def rounding_at(settings: Settings, ratio: float) -> str:
    """What "auto" rounding means for a picture that is `ratio` times as large as the base: "up" or "down"."""
    if settings.rounding != "auto":
        return settings.rounding
    return "down" if ratio < 2.0 else "up"


def whole_multiple(ratio: float) -> int | None:
    """The whole multiple from 2 on that "auto" plans a picture of `ratio` times the base as, or None between them."""
    nearest = round(ratio)
    return nearest if nearest >= 2 and abs(ratio - nearest) <= WHOLE_WITHIN * nearest else None


def _ratio(size: Size, base: Size) -> float:
    return max(size[0] / base[0], size[1] / base[1])


def _treated_as(size: Size, base: Size, settings: Settings) -> int | None:
    """The whole multiple of the base that "auto" plans this size as, where it is near enough to one."""
    by_itself = settings.rounding == "auto" and settings.dilation is None
    treats = by_itself and method_class(settings.method).treats_near_multiples
    return whole_multiple(_ratio(size, base)) if treats else None


def _dilation(size: Size, base: Size, scale: int, whole: int | None, settings: Settings) -> float:
    if settings.dilation is not None:
        return settings.dilation
    ratio = _ratio(size, base)
    return float(scale) if scale == 1 or whole is not None or rounding_at(settings, ratio) == "up" else ratio


def _base(structure: Structure, family: str, size: Size, settings: Settings) -> Size:
    if settings.base is not None:
        return settings.base
    if family == "sdxl":
        similar = sizes.bucket_of_shape(size, structure.base)
        exact = settings.dilation is None and rounding_at(settings, _ratio(size, similar)) != "up"
        # The padding that a whole multiple needs is no matter where the ratio itself is the dilation, or so near to
        # a multiple of the training size of this shape that the picture is treated as that multiple.
        near = _treated_as(size, similar, settings) is not None
        return similar if exact or near else sizes.nearest_bucket(size, structure.base)
    return (structure.base, structure.base)
