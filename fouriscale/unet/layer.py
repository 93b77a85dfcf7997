"""One convolution of a UNet, by its canonical name and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["resnet", "downsampler", "upsampler"]


@dataclass(frozen=True)
class Layer:
    """One 3×3 convolution. `level` is log2 of how many times its *input* is smaller than the latent.

    name: canonical, as diffusers names it. path: of the module in the UNet at hand.
    """

    name: str
    path: str
    role: Role
    level: int
