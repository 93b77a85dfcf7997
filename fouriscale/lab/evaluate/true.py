"""What the bundled model's words allow: measures against the drawings that they stand for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..measure import features, likeness, recognition, truth

DISTANCES = tuple(f"distance_{side}" for side in likeness.SIDES)
SMALLEST, LARGEST = 0.5, 0.94  # of a frame's shorter side, as the model was trained


def knows(prompts: Iterable[str]) -> bool:
    """Whether each of `prompts` is a word whose drawing is known."""
    return set(prompts) <= set(truth.words())


def true_metrics(picture: np.ndarray, word: str) -> dict[str, float]:
    """Distances to the drawing of `word`, and whether it is recognised. `picture`: (h, w, 3) in [0, 1]."""
    far = likeness.distances(picture, word)
    right, chance = recognition.probability(picture, word)
    return {f"distance_{side}": value for side, value in far.items()} | {
        "recognised": float(right), "probability": chance,
    }  # fmt: skip


def true_patches(width: int, height: int, words: list[str], count: int) -> np.ndarray:
    """Patches of the drawings at full size, (count, 8, k): each of `words` in turn, placed as the model places it."""
    rng = np.random.RandomState(0)
    found = []
    for index in range(count):
        short = min(width, height)
        side = round(short * rng.uniform(SMALLEST, LARGEST))
        top, left = rng.randint(height - side + 1), rng.randint(width - side + 1)
        word = words[index % len(words)]
        picture = truth.placed(word, width, height, side, top, left, bool(rng.randint(2)))
        found.append(features.patches(picture, index))
    return np.stack(found)
