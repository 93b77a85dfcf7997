"""Trains `fouriscale/lab/measure/recognition.safetensors`: which of the bundled model's words a picture shows.

On the true drawings alone, at any place, size and mirroring, squeezed and blurred: it never sees what a model drew.
`python -m tools.train_recogniser`: about three minutes of one CPU core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from safetensors.torch import save_file

from fouriscale.lab.measure import truth
from fouriscale.lab.measure.recognition import SIDE, WEIGHTS, Recogniser

KEPT = 192  # pixels, the side that the drawings are shrunk from
SMALLEST, LARGEST = 0.35, 1.0  # of the frame
SQUEEZE = 2.0  # a picture of 1:2 is squeezed to a square by as much
BLUR = 1.5  # pixels, largest standard deviation


class Examples:
    """Random pictures of the drawings at the network's input size."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.drawn = [truth.drawing(word).resize((KEPT, KEPT), Image.Resampling.BOX) for word in truth.words()]

    def one(self) -> tuple[np.ndarray, int]:
        """A picture (64, 64, 3) in [0, 1], and its word's number."""
        rng, index = self.rng, int(self.rng.integers(len(self.drawn)))
        side, squeeze = SIDE * rng.uniform(SMALLEST, LARGEST), SQUEEZE ** rng.uniform(-1, 1)
        width, height = (max(8, min(SIDE, round(side * f))) for f in (min(1.0, squeeze), min(1.0, 1 / squeeze)))
        drawn = self.drawn[index].resize((width, height), Image.Resampling.BOX)
        if rng.random() < 0.5:
            drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        page = Image.new("RGBa", (SIDE, SIDE), (0, 0, 0, 0))
        page.paste(drawn, (int(rng.integers(SIDE - width + 1)), int(rng.integers(SIDE - height + 1))))
        if rng.random() < 0.5:
            page = page.filter(ImageFilter.GaussianBlur(rng.uniform(0, BLUR)))
        noise = rng.normal(0, rng.uniform(0, 0.05), (SIDE, SIDE, 3))
        return np.clip(truth.on_white(page) + noise, 0, 1).astype(np.float32), index

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(count, 3, 64, 64) and (count,)."""
        pictures, indices = zip(*(self.one() for _ in range(count)), strict=True)
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor(indices)


def accuracy(net: Recogniser, examples: Examples, count: int = 960) -> float:
    """Share of new examples that are recognised."""
    with torch.no_grad():
        pictures, indices = examples.batch(count)
        return float((net(pictures).argmax(1) == indices).float().mean())


def main() -> None:
    """Train, print the accuracy on examples that were not trained on, save in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net, examples = Recogniser(), Examples(0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, args.steps, pct_start=0.1)
    for step in range(args.steps):
        pictures, indices = examples.batch(args.batch)
        loss = F.cross_entropy(net(pictures), indices)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}  loss {loss.item():.3f}", flush=True)
    net.half().float()
    print(f"accuracy on new examples: {accuracy(net.eval(), Examples(1)):.4f}")
    save_file({name: value.half().contiguous() for name, value in net.state_dict().items()}, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
