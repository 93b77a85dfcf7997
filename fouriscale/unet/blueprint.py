"""The few numbers of a UNet that its cost depends on, read from modules or known for the published families."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .layer import Layer, Role
from .wrapped import base_layer


@dataclass(frozen=True)
class Blueprint:
    """Channels and attention depth of each resolution, from the largest to the smallest.

    depths: transformer layers after each resnet; mid_depth: those between the two resnets of the mid block.
    resnets: resnets in a down block (an up block has one more). context: width of the text embedding.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    mid_depth: int
    context: int
    resnets: int = 2

    def convolutions(self) -> Iterator[tuple[str, Role, int]]:
        """Canonical name, role and input level of every 3×3 convolution between conv_in and conv_out, in order."""
        last = len(self.channels) - 1
        for level in range(last + 1):
            for j in range(self.resnets):
                yield f"down_blocks.{level}.resnets.{j}.conv1", "resnet", level
                yield f"down_blocks.{level}.resnets.{j}.conv2", "resnet", level
            if level < last:
                yield f"down_blocks.{level}.downsamplers.0.conv", "downsampler", level
        for j in range(2):
            yield f"mid_block.resnets.{j}.conv1", "resnet", last
            yield f"mid_block.resnets.{j}.conv2", "resnet", last
        for i in range(last + 1):
            for j in range(self.resnets + 1):
                yield f"up_blocks.{i}.resnets.{j}.conv1", "resnet", last - i
                yield f"up_blocks.{i}.resnets.{j}.conv2", "resnet", last - i
            if i < last:
                yield f"up_blocks.{i}.upsamplers.0.conv", "upsampler", last - i - 1

    @classmethod
    def of(cls, unet: torch.nn.Module, convs: Sequence[Layer], attention: Sequence[str], levels: int) -> Blueprint:
        """Read the numbers off a UNet whose convolutions and self-attention layers are already found."""
        down = [c for c in convs if c.name.startswith("down_blocks") and c.role == "resnet"]
        channels = tuple(_conv(unet, c).out_channels for c in down if c.name.endswith(".0.conv2"))
        resnets = sum(c.name.startswith("down_blocks.0.resnets") for c in down) // 2
        stage_level = {c.path.split(".")[0] + "." + c.path.split(".")[1]: c.level for c in down}
        per_stage: Counter[int] = Counter()
        mid = 0
        for path in attention:
            parts = path.split(".")
            if parts[0] in ("mid_block", "middle_block"):
                mid += 1
            elif parts[0] in ("down_blocks", "input_blocks"):
                per_stage[stage_level[f"{parts[0]}.{parts[1]}"]] += 1
        depths = tuple(per_stage[level] // max(resnets, 1) for level in range(levels))
        return cls(channels, depths, mid, _context(unet, attention), resnets)


def _conv(unet: torch.nn.Module, layer: Layer) -> torch.nn.Conv2d:
    module = base_layer(unet.get_submodule(layer.path))
    assert isinstance(module, torch.nn.Conv2d)
    return module


def _context(unet: torch.nn.Module, attention: Sequence[str]) -> int:
    for path in attention:
        cross = getattr(unet.get_submodule(path.removesuffix(".attn1")), "attn2", None)
        width = getattr(getattr(cross, "to_k", None), "in_features", None)
        if isinstance(width, int):
            return width
    return 0


BLUEPRINTS = {
    "sd15": Blueprint((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 768),
    "sd21": Blueprint((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 1024),
    "sdxl": Blueprint((320, 640, 1280), (0, 2, 10), 10, 2048),
}
