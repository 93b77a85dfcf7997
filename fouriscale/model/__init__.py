"""The small model that ships with FouriScale: where it is, what it knows, how its latents are read."""

from __future__ import annotations

from pathlib import Path

import torch

# The latent is the picture's premultiplied RGBA at an eighth of its size, times this; an empty background is 0.
LATENT_GAIN = 2.0
ALPHA_CHANNEL = 3
BASE = 256
STEPS, CFG = 25, 4.0  # how it is sampled where nobody says otherwise

PROMPTS = (
    "bear", "bee", "cat", "chick", "cow", "crab", "dog", "elephant", "fish", "fox", "frog", "koala", "ladybug", "lion",
    "octopus", "owl", "panda", "penguin", "pig", "turtle", "cactus", "clover", "mushroom", "pine tree", "rose",
    "sunflower", "apple", "avocado", "banana", "birthday cake", "broccoli", "cheese", "cookie", "croissant", "cupcake",
    "doughnut", "eggplant", "hamburger", "kiwi", "lemon", "orange", "peach", "pear", "pineapple", "pizza",
    "strawberry", "tomato", "watermelon",
)  # fmt: skip


def folder() -> Path:
    """The model in diffusers' folder format."""
    return Path(__file__).resolve().parent


def alpha(latents: torch.Tensor) -> torch.Tensor:
    """Opacity in [0, 1] from latents (n, 4, h, w), (n, h, w)."""
    return (latents[:, ALPHA_CHANNEL].float() / LATENT_GAIN).clamp(0.0, 1.0)
