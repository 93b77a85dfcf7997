"""Whether a picture shows what was asked for: a small network that knows the bundled model's words by sight.

`tools/train_recogniser.py` trained it on the true drawings alone: at any place and size, mirrored, squeezed, blurred.
Its inner values are features for Fréchet distances that, unlike random ones, see what tells objects apart.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from . import truth

WEIGHTS = Path(__file__).with_name("recognition.safetensors")
SIDE = 64  # pixels, of the network's input
CHANNELS, FEATURES = (24, 48, 96, 128), 64


class Recogniser(nn.Module):
    """Pictures (n, 3, 64, 64) in [0, 1] to logits (n, 48) of `truth.words()`."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *CHANNELS[:-1])
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in zip(inputs, CHANNELS, strict=True))
        self.features = nn.Linear(2 * CHANNELS[-1], FEATURES)
        self.logits = nn.Linear(FEATURES, len(truth.words()))

    def penultimate(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, 64) features, what the logits are a linear map of."""
        x = 1 - pictures  # white is 0, as what is beyond the border
        for layer in self.layers:
            x = layer(x).relu()
        return self.features(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)).relu()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits (n, 48)."""
        return self.logits(self.penultimate(pictures))


@lru_cache(maxsize=1)
def recogniser() -> Recogniser:
    """The trained network, in float32."""
    from safetensors.torch import load_file

    net = Recogniser()
    net.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return net.eval().requires_grad_(False)


def probability(picture: np.ndarray, word: str) -> tuple[bool, float]:
    """Whether `picture`, (h, w, 3) in [0, 1], is taken for `word` before all others, and the probability of `word`.

    Raises ValueError for a word that the network does not know.
    """
    chances = recogniser()(squeezed(picture)).softmax(1)[0]
    index = truth.words().index(word)
    return int(chances.argmax()) == index, float(chances[index])


def structure(picture: np.ndarray) -> np.ndarray:
    """(64,) features of the whole `picture`, (h, w, 3) in [0, 1], squeezed to the network's input."""
    return recogniser().penultimate(squeezed(picture))[0].numpy()


def squeezed(picture: np.ndarray) -> torch.Tensor:
    """`picture` (h, w, 3) as the network's input, (1, 3, 64, 64): area averages."""
    planes = [Image.fromarray(np.ascontiguousarray(picture[..., c], dtype=np.float32)) for c in range(3)]
    made = [np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.BOX)) for plane in planes]
    return torch.from_numpy(np.stack(made))[None]
