"""Serves the stand-alone page with a tiny random UNet and a picture maker of one colour, for the browser tests.

Run with the gradio to test first on PYTHONPATH: `python tests/page_server.py PORT`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image

from fouriscale.hosts.webui.page import build_page, serve


class Resnet(torch.nn.Module):
    """The attributes by which a resnet is recognised."""

    def __init__(self) -> None:
        super().__init__()
        self.in_layers = torch.nn.Sequential(
            torch.nn.GroupNorm(1, 4), torch.nn.SiLU(), torch.nn.Conv2d(4, 4, 3, padding=1)
        )
        self.out_layers = torch.nn.Sequential(*[torch.nn.Identity()] * 3, torch.nn.Conv2d(4, 4, 3, padding=1))


class Sampler(torch.nn.Module):
    """A downsampler (op) or an upsampler (conv)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        setattr(self, name, torch.nn.Conv2d(4, 4, 3, padding=1))


class Attention(torch.nn.Module):
    """A spatial transformer with one block."""

    def __init__(self) -> None:
        super().__init__()
        self.proj_in = torch.nn.Conv2d(4, 4, 1)
        block = torch.nn.Module()
        block.attn1, block.attn2 = torch.nn.Module(), torch.nn.Module()
        for attention in (block.attn1, block.attn2):
            attention.to_q, attention.to_k = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.transformer_blocks = torch.nn.ModuleList([block])


class Skeleton(torch.nn.Module):
    """SD 1.5's ldm layout with four channels: enough to plan for, never run."""

    def __init__(self) -> None:
        super().__init__()
        stage = torch.nn.Sequential
        down = [stage(torch.nn.Conv2d(4, 4, 3))]
        for level in range(4):
            down += [stage(Resnet(), *([Attention()] if level < 3 else [])) for _ in range(2)]
            down += [stage(Sampler("op"))] if level < 3 else []
        self.input_blocks = torch.nn.ModuleList(down)
        self.middle_block = stage(Resnet(), Attention(), Resnet())
        up = []
        for level in range(4):
            for index in range(3):
                extra = [Attention()] if level else []
                up.append(stage(Resnet(), *extra, *([Sampler("conv")] if index == 2 and level < 3 else [])))
        self.output_blocks = torch.nn.ModuleList(up)


def make(prompt, negative, width, height, steps, cfg, seed, settings, preset, on_step):
    """A grey picture when plain, a green one with FouriScale."""
    for step in range(steps):
        on_step(step + 1)
    return Image.new("RGB", (width, height), "grey" if settings is None else "green"), 0.5


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    page = build_page(Skeleton(), make, folder, 512, "hamburger", 4, 7.0)
    serve(page, "127.0.0.1", int(sys.argv[1]), quiet=True)
