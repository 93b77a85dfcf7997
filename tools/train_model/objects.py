"""The training data: single objects of the Noto emoji set, placed at random on an empty frame.

The drawings come from the npm package ``@iconify-json/noto`` (Noto Emoji by Google, Apache-2.0) as SVG.
A training latent is the drawing as premultiplied RGBA at 32×32, times two: the empty background is exactly 0
and the number of objects can be read from the alpha channel.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PACKAGE = "@iconify-json/noto@1.2.9"
LATENT = 32
PIXELS = 8 * LATENT
LATENT_GAIN = 2.0
SMALLEST, LARGEST = 16, 30  # side of an object in latent pixels: half to nearly all of the frame

# prompt word -> icon name
OBJECTS = {
    "bear": "bear", "bee": "honeybee", "cat": "cat-face", "chick": "front-facing-baby-chick",
    "cow": "cow-face", "crab": "crab", "dog": "dog-face", "elephant": "elephant", "fish": "fish",
    "fox": "fox", "frog": "frog", "koala": "koala", "ladybug": "lady-beetle", "lion": "lion",
    "octopus": "octopus", "owl": "owl", "panda": "panda", "penguin": "penguin", "pig": "pig-face",
    "turtle": "turtle",
    "cactus": "cactus", "clover": "four-leaf-clover", "mushroom": "mushroom", "pine tree": "evergreen-tree",
    "rose": "rose", "sunflower": "sunflower",
    "apple": "red-apple", "avocado": "avocado", "banana": "banana", "birthday cake": "birthday-cake",
    "broccoli": "broccoli", "cheese": "cheese-wedge", "cookie": "cookie", "croissant": "croissant",
    "cupcake": "cupcake", "doughnut": "doughnut", "eggplant": "eggplant", "hamburger": "hamburger",
    "kiwi": "kiwi-fruit", "lemon": "lemon", "orange": "tangerine", "peach": "peach", "pear": "pear",
    "pineapple": "pineapple", "pizza": "pizza", "strawberry": "strawberry", "tomato": "tomato",
    "watermelon": "watermelon",
}  # fmt: skip
NAMES = tuple(OBJECTS)
TEMPLATES = (
    "{}", "a {}", "one {}", "the {}", "an emoji of a {}", "a picture of a {}", "a drawing of a {}",
    "a {} on a white background", "a small {}", "a large {}",
)  # fmt: skip


def download(folder: Path) -> Path:
    """Fetch the icon package with npm into `folder`, once; return its icons.json."""
    icons = folder / "package" / "icons.json"
    if not icons.exists():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
        )
        with tarfile.open(folder / done.stdout.split()[-1]) as archive:
            archive.extractall(folder, filter="data")
    return icons


def draw(icons: Path, side: int) -> dict[str, np.ndarray]:
    """Each object as premultiplied float32 RGBA in [0, 1], (side, side, 4), by prompt word."""
    import resvg_py

    bodies = json.loads(icons.read_text())["icons"]
    drawn = {}
    for word, icon in OBJECTS.items():
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="128" '
            f'height="128" viewBox="0 0 128 128">{bodies[icon]["body"]}</svg>'
        )
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
        rgba = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), np.float32) / 255
        rgba[..., :3] *= rgba[..., 3:]
        drawn[word] = rgba
    return drawn


def shrink(rgba: np.ndarray, side: int) -> np.ndarray:
    """Area-averaged copy of a premultiplied picture, (side, side, 4); box filter, so values stay in [0, 1]."""
    planes = [Image.fromarray(rgba[..., c]).resize((side, side), Image.Resampling.BOX) for c in range(4)]
    return np.stack([np.asarray(p) for p in planes], -1)


@dataclass(frozen=True)
class Placement:
    """One training example: which object, its side and corner in latent pixels, mirrored or not."""

    index: int
    side: int
    top: int
    left: int
    flip: bool

    @classmethod
    def random(cls, rng: np.random.Generator) -> Placement:
        side = int(rng.integers(SMALLEST, LARGEST + 1))
        top, left = (int(v) for v in rng.integers(0, LATENT - side + 1, 2))
        return cls(int(rng.integers(len(NAMES))), side, top, left, bool(rng.integers(2)))


class Frames:
    """Renders placements at latent size or at picture size, from sprites cached by side."""

    def __init__(self, folder: Path):
        self._drawn = draw(download(folder), 512)
        self._sprites: dict[tuple[int, int], np.ndarray] = {}

    def _sprite(self, index: int, side: int) -> np.ndarray:
        key = (index, side)
        if key not in self._sprites:
            self._sprites[key] = shrink(self._drawn[NAMES[index]], side)
        return self._sprites[key]

    def rgba(self, place: Placement, scale: int = 1) -> np.ndarray:
        """Premultiplied RGBA in [0, 1], (32·scale, 32·scale, 4)."""
        sprite = self._sprite(place.index, place.side * scale)
        frame = np.zeros((LATENT * scale, LATENT * scale, 4), np.float32)
        top, left, side = (v * scale for v in (place.top, place.left, place.side))
        frame[top : top + side, left : left + side] = sprite[:, ::-1] if place.flip else sprite
        return frame

    def latents(self, places: list[Placement]) -> torch.Tensor:
        """Training latents, (n, 4, 32, 32)."""
        frames = np.stack([self.rgba(p) for p in places])
        return LATENT_GAIN * torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()

    def pictures(self, places: list[Placement]) -> torch.Tensor:
        """The same frames at 256×256 on white, RGB in [−1, 1], (n, 3, 256, 256)."""
        frames = torch.from_numpy(np.stack([self.rgba(p, 8) for p in places])).permute(0, 3, 1, 2)
        return 2 * (frames[:, :3] + 1 - frames[:, 3:]) - 1


def caption(index: int, rng: np.random.Generator) -> str:
    """A caption for object `index`, by a random template."""
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(NAMES[index])
