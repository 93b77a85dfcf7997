"""The training data: single objects of the Noto emoji set, placed at random on an empty frame.

The drawings are those of `fouriscale.lab.measure.truth` (Noto Emoji by Google, Apache-2.0). A training latent is the
drawing as premultiplied RGBA at 32×32, times two: the empty background is exactly 0 and the number of objects can be
read from the alpha channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from fouriscale.lab.measure import truth

LATENT = 32
PIXELS = 8 * LATENT
LATENT_GAIN = 2.0
SMALLEST, LARGEST = 16, 30  # side of an object in latent pixels: half to nearly all of the frame
LARGEST_CANVAS = 4.0  # in frames: what close-ups are windows of

NAMES = truth.words()
TEMPLATES = (
    "{}", "a {}", "one {}", "the {}", "an emoji of a {}", "a picture of a {}", "a drawing of a {}",
    "a {} on a white background", "a small {}", "a large {}",
)  # fmt: skip


@dataclass(frozen=True)
class Placement:
    """One training example: which object, its side and corner in latent pixels, mirrored or not.

    A close-up's side is larger than the frame and its corner outside of it: the frame is a window on the drawing.
    """

    index: int
    side: int
    top: int
    left: int
    flip: bool

    @classmethod
    def random(cls, rng: np.random.Generator) -> Placement:
        """A whole object at any place in the frame."""
        side = int(rng.integers(SMALLEST, LARGEST + 1))
        top, left = (int(v) for v in rng.integers(0, LATENT - side + 1, 2))
        return cls(int(rng.integers(len(NAMES))), side, top, left, bool(rng.integers(2)))

    @classmethod
    def close_up(cls, rng: np.random.Generator) -> Placement:
        """A window on a canvas of 1 to 4 times the frame's side, with the object at any place in it, as in `random`.

        The window's middle is in or just beside the object, as far as the canvas allows.
        """
        canvas = round(LATENT * LARGEST_CANVAS ** rng.random())
        side = round(canvas * rng.uniform(SMALLEST, LARGEST) / LATENT)
        corner = rng.integers(0, canvas - side + 1, 2)
        middle = corner + rng.uniform(-0.1, 1.1, 2) * side
        window = np.clip(np.rint(middle - LATENT / 2), 0, canvas - LATENT)
        top, left = (int(v) for v in corner - window)
        return cls(int(rng.integers(len(NAMES))), side, top, left, bool(rng.integers(2)))


@dataclass(frozen=True)
class Lessons:
    """Which frames are learnt at which timesteps: whole objects at all of them, close-ups only at late, low ones.

    So the model lays out one whole object in a frame of its size, and finishes parts of larger pictures.
    below: the timestep where the late part begins. late: share of examples from it. close: of these, the close-ups.
    """

    below: int = 400
    late: float = 0.7
    close: float = 0.65

    def draw(self, rng: np.random.Generator) -> tuple[Placement, int]:
        """A random example and its timestep."""
        if rng.random() >= self.late:
            return Placement.random(rng), int(rng.integers(self.below, 1000))
        place = Placement.close_up(rng) if rng.random() < self.close else Placement.random(rng)
        return place, int(rng.integers(self.below))


class Frames:
    """Renders placements at latent size or at picture size."""

    def __init__(self) -> None:
        self._drawn = [truth.drawing(name) for name in NAMES]

    def rgba(self, place: Placement, scale: int = 1) -> np.ndarray:
        """Premultiplied RGBA in [0, 1], (32·scale, 32·scale, 4); area averages, so that values stay in the range."""
        pixels = LATENT * scale
        frame = np.zeros((pixels, pixels, 4), np.float32)
        side = place.side * scale
        y, x = place.top * scale, place.left * scale
        top, left, bottom, right = max(0, y), max(0, x), min(pixels, y + side), min(pixels, x + side)
        if bottom <= top or right <= left:
            return frame
        x0, x1 = (side - right + x, side - left + x) if place.flip else (left - x, right - x)
        box = tuple(min(float(truth.SIDE), truth.SIDE / side * v) for v in (x0, top - y, x1, bottom - y))
        part = self._drawn[place.index].resize((right - left, bottom - top), Image.Resampling.BOX, box)
        seen = np.asarray(part, np.float32) / 255
        frame[top:bottom, left:right] = seen[:, ::-1] if place.flip else seen
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
