"""The true drawings of what the bundled model draws: each of its words stands for one drawing, known at every size.

`truth.zip` holds them as lossless WebP with opacity, from Noto Emoji, © Google, Apache-2.0 (its NOTICE inside);
`tools/pack_truth.py` writes it.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

ARCHIVE = Path(__file__).with_name("truth.zip")
SIDE = 1024  # pixels, of each drawing


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """The objects whose drawings are known."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        return tuple(name.removesuffix(".webp") for name in archive.namelist() if name.endswith(".webp"))


@lru_cache(maxsize=64)
def drawing(word: str) -> Image.Image:
    """The drawing of `word`, RGBa (premultiplied) at 1024×1024. Raises KeyError for a word that has none."""
    with zipfile.ZipFile(ARCHIVE) as archive, archive.open(f"{word}.webp") as file, Image.open(file) as image:
        return image.convert("RGBA").convert("RGBa")


def on_white(drawn: Image.Image) -> np.ndarray:
    """A premultiplied drawing (h, w) on white: (h, w, 3) in [0, 1], float32."""
    rgba = np.asarray(drawn, np.float32) / 255
    return rgba[..., :3] + 1 - rgba[..., 3:]


def placed(word: str, width: int, height: int, side: int, top: int, left: int, flip: bool = False) -> np.ndarray:
    """The drawing of `word` at side × side pixels on a white picture: (height, width, 3) in [0, 1].

    The border cuts off what is beyond it.
    """
    drawn = drawing(word).resize((side, side), Image.Resampling.BOX if side <= SIDE else Image.Resampling.BICUBIC)
    if flip:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    page = Image.new("RGBa", (width, height), (0, 0, 0, 0))
    page.paste(drawn, (left, top))
    return on_white(page)
