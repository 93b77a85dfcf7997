"""Which training size a picture is measured against, and by how much it is larger."""

from __future__ import annotations

import math

from ..errors import SettingsError

Size = tuple[int, int]  # width, height in pixels

# SDXL's training sizes, height × width, from the widest to the tallest (SDXL report, appendix I).
_SDXL_HW = [
    *((512, w) for w in (2048, 1984, 1920, 1856)), *((576, w) for w in (1792, 1728, 1664)),
    *((640, w) for w in (1600, 1536)), *((704, w) for w in (1472, 1408, 1344)), *((768, w) for w in (1344, 1280)),
    *((832, w) for w in (1216, 1152)), *((896, w) for w in (1152, 1088)), *((960, w) for w in (1088, 1024)),
    (1024, 1024), (1024, 960), (1088, 960), (1088, 896), (1152, 896), (1152, 832), (1216, 832), (1280, 768),
    (1344, 768), (1408, 704), (1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576), (1792, 576),
    (1856, 512), (1920, 512), (1984, 512), (2048, 512),
]  # fmt: skip
SDXL_BUCKETS: tuple[Size, ...] = tuple((w, h) for h, w in _SDXL_HW)


def ceil_scale(size: Size, base: Size) -> int:
    """The larger of the two axes' whole-number scales, ``ceil(size / base)``."""
    return max(-(-size[0] // base[0]), -(-size[1] // base[1]))


def nearest_bucket(size: Size, unit: int = 1024) -> Size:
    """The SDXL training size against which `size` needs the least padding.

    Among the buckets whose two ceil-scales are equal, the one with the smallest sum of paddings, the first on ties.
    For the sizes that have no such bucket (2.5 % of them between 1024 and 4096 px): the smallest larger scale, then the
    smallest padding.
    unit: the training size's square root of area; other values than 1024 scale every bucket, rounded to multiples of 8.
    """
    buckets = [_scaled(b, unit) for b in SDXL_BUCKETS]

    def cost(bucket: Size) -> tuple[bool, int, int]:
        scales = [-(-s // b) for s, b in zip(size, bucket, strict=True)]
        scale = max(scales)
        padding = scale * (bucket[0] + bucket[1]) - size[0] - size[1]
        unequal = scales[0] != scales[1]
        return (unequal, scale if unequal else 0, padding)

    return min(buckets, key=cost)


def bucket_of_shape(size: Size, unit: int = 1024) -> Size:
    """The SDXL training size whose shape (width over height) is closest to that of `size`, the first on ties.

    unit: as for `nearest_bucket`.
    """
    buckets = [_scaled(b, unit) for b in SDXL_BUCKETS]
    return min(buckets, key=lambda b: abs(math.log(size[0] * b[1] / (size[1] * b[0]))))


def _scaled(bucket: Size, unit: int) -> Size:
    if unit == 1024:
        return bucket
    width, height = (8 * round(side * unit / 1024 / 8) for side in bucket)
    return width, height


def padded_period(feature: int, base: float, scale: int) -> int:
    """Length of the filter's FFT on one axis of a feature map: ``scale · base``, truncated (pad-then-crop, sec. 3.3).

    Never shorter than the feature itself, and even, so that the mask is defined: padding only sets the FFT's period.
    """
    period = max(int(scale * base), feature)
    return period + period % 2


def check_picture_size(width: int, height: int) -> None:
    """Raise SettingsError unless both sides are multiples of 8 from 64 to 16384 pixels."""
    for name, side in (("width", width), ("height", height)):
        if not isinstance(side, int) or side % 8 or not 64 <= side <= 16384:
            raise SettingsError(name, side, "a multiple of 8 from 64 to 16384 pixels")


def px(size: Size) -> str:
    """Such as "1024×768"."""
    return f"{size[0]}×{size[1]}"
