"""Reads a UNet's structure: its family, and its convolutions under canonical (diffusers) names.

Two namings are understood, recognised by attributes rather than by class, so that forks and WebUI hosts work:
diffusers' ``UNet2DConditionModel`` (down_blocks, mid_block, up_blocks) and the ldm ``UNetModel`` (input_blocks,
middle_block, output_blocks).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ..errors import SettingsError, UnsupportedModelError
from .blueprint import BLUEPRINTS, Blueprint
from .compiled import refuse_compiled
from .layer import Layer
from .wrapped import base_layer, is_convolution

FAMILY_BASE = {"sd15": 512, "sd21": 512, "sdxl": 1024}


@dataclass(frozen=True)
class Structure:
    """What a UNet is made of, as far as FouriScale needs to know.

    family: "sd15", "sd21" or "sdxl". base: side of the training size in pixels. convs: all hookable convolutions in
    order of execution. attention: paths of the self-attention modules. stages: (canonical prefix, path) of the blocks
    in order of execution, conv_in first. up_resnets: path of each resnet in the up blocks, and how many of its input's
    channels come from the layer below (the rest is the skip connection).
    """

    naming: Literal["diffusers", "ldm", "blueprint"]
    family: str
    base: int
    convs: tuple[Layer, ...]
    attention: tuple[str, ...]
    stages: tuple[tuple[str, str], ...]
    blueprint: Blueprint
    up_resnets: tuple[tuple[str, int], ...] = ()

    def select(self, layers: str, family: str) -> tuple[Layer, ...]:
        """The convolutions that `layers` of the settings means. Raises SettingsError where a name matches nothing."""
        published = tuple(c for c in self.convs if _is_published(c, family, len(self.blueprint.channels)))
        if layers == "published":
            return published
        if layers == "down+mid":
            return tuple(c for c in published if not c.name.startswith("up_blocks"))
        if layers == "mid":
            return tuple(c for c in published if c.name.startswith("mid_block"))
        chosen = set()
        for pattern in (p.strip() for p in layers.split(",") if p.strip()):
            found = {c.name for c in self.convs if fnmatch.fnmatchcase(c.name, pattern)}
            if not found:
                raise SettingsError("layers", pattern, "no such convolution; names look like " + self.convs[0].name)
            chosen |= found
        return tuple(c for c in self.convs if c.name in chosen)

    def before(self, first: str) -> tuple[str, ...]:
        """Paths of the stages that run wholly before the convolution with canonical name `first`."""
        paths = []
        for prefix, path in self.stages:
            if first.startswith(prefix + "."):
                break
            paths.append(path)
        return tuple(paths)


def _is_published(layer: Layer, family: str, levels: int) -> bool:
    """The layer lists of the authors' runs: 34 convolutions for SD 1.5 and 2.1, 21 for SDXL."""
    block, _, rest = layer.name.partition(".")
    index = int(rest.split(".")[0]) if block != "mid_block" else 0
    if block == "down_blocks":
        return index >= 2
    if block == "up_blocks":
        last_upsampler = levels - 2 if family != "sdxl" else levels - 3
        return index <= (last_upsampler if layer.role == "upsampler" else levels - 2)
    return True


def describe(unet: torch.nn.Module) -> Structure:
    """Read `unet`. Raises UnsupportedModelError if it is not a UNet of SD 1.x, 2.x or XL in a form that hooks reach."""
    refuse_compiled(unet)
    if all(hasattr(unet, name) for name in ("down_blocks", "mid_block", "up_blocks", "conv_in")):
        naming: Literal["diffusers", "ldm"] = "diffusers"
        convs, stages = _diffusers_layers(unet)
    elif all(hasattr(unet, name) for name in ("input_blocks", "middle_block", "output_blocks")):
        naming = "ldm"
        convs, stages = _ldm_layers(unet)
    else:
        raise UnsupportedModelError(
            f"{type(unet).__name__} is not a UNet of Stable Diffusion 1.x, 2.x or XL: it has neither down_blocks, "
            "mid_block and up_blocks nor input_blocks, middle_block and output_blocks"
        )
    refuse_compiled(unet, [conv.path for conv in convs])
    attention = tuple(_self_attention(unet))
    levels = 1 + max((c.level for c in convs), default=0)
    if levels not in (3, 4) or not attention:
        raise UnsupportedModelError(
            f"{type(unet).__name__} has {levels} resolutions and {len(attention)} self-attention layers; the UNets of "
            "Stable Diffusion 1.x, 2.x and XL have 3 or 4 resolutions and self-attention"
        )
    blueprint = Blueprint.of(unet, convs, attention, levels)
    family = _family(unet, attention, levels)
    return Structure(
        naming, family, _base(unet, family), tuple(convs), attention, tuple(stages), blueprint, _up_resnets(unet, convs)
    )  # fmt: skip


def _diffusers_layers(unet: Any) -> tuple[list[Layer], list[tuple[str, str]]]:
    convs: list[Layer] = []
    stages = [("conv_in", "conv_in")]
    levels = len(list(unet.down_blocks))
    for i, block in enumerate(unet.down_blocks):
        stages.append((f"down_blocks.{i}", f"down_blocks.{i}"))
        convs += _diffusers_block(block, f"down_blocks.{i}", i, i)
    stages.append(("mid_block", "mid_block"))
    convs += _diffusers_block(unet.mid_block, "mid_block", levels - 1, levels - 1)
    for i, block in enumerate(unet.up_blocks):
        stages.append((f"up_blocks.{i}", f"up_blocks.{i}"))
        convs += _diffusers_block(block, f"up_blocks.{i}", levels - 1 - i, levels - 2 - i)
    return convs, stages


def _diffusers_block(block: Any, name: str, level: int, resampled: int) -> Iterator[Layer]:
    for j, resnet in enumerate(getattr(block, "resnets", ())):
        for conv in ("conv1", "conv2"):
            if is_convolution(getattr(resnet, conv, None)):
                path = f"{name}.resnets.{j}.{conv}"
                yield Layer(path, path, "resnet", level)
    for kind, role in (("downsamplers", "downsampler"), ("upsamplers", "upsampler")):
        for j, sampler in enumerate(getattr(block, kind, None) or ()):
            if is_convolution(getattr(sampler, "conv", None)):
                path = f"{name}.{kind}.{j}.conv"
                yield Layer(path, path, role, level if role == "downsampler" else resampled)  # type: ignore[arg-type]


def _ldm_layers(unet: Any) -> tuple[list[Layer], list[tuple[str, str]]]:
    convs: list[Layer] = []
    stages: list[tuple[str, str]] = []
    block, resnet = 0, 0
    for k, stage in enumerate(unet.input_blocks):
        stages.append(("conv_in" if k == 0 else f"down_blocks.{block}", f"input_blocks.{k}"))
        for c, child in enumerate(stage):
            path = f"input_blocks.{k}.{c}"
            if hasattr(child, "in_layers"):
                convs += _ldm_resnet(child, f"down_blocks.{block}.resnets.{resnet}", path, block)
                resnet += 1
            elif is_convolution(getattr(child, "op", None)):
                convs.append(Layer(f"down_blocks.{block}.downsamplers.0.conv", path + ".op", "downsampler", block))
                block, resnet = block + 1, 0
    deepest, resnet = block, 0
    stages.append(("mid_block", "middle_block"))
    for c, child in enumerate(unet.middle_block):
        if hasattr(child, "in_layers"):
            convs += _ldm_resnet(child, f"mid_block.resnets.{resnet}", f"middle_block.{c}", deepest)
            resnet += 1
    block, resnet = 0, 0
    for k, stage in enumerate(unet.output_blocks):
        stages.append((f"up_blocks.{block}", f"output_blocks.{k}"))
        for c, child in enumerate(stage):
            path = f"output_blocks.{k}.{c}"
            if hasattr(child, "in_layers"):
                convs += _ldm_resnet(child, f"up_blocks.{block}.resnets.{resnet}", path, deepest - block)
                resnet += 1
            elif is_convolution(getattr(child, "conv", None)):
                level = deepest - block - 1
                convs.append(Layer(f"up_blocks.{block}.upsamplers.0.conv", path + ".conv", "upsampler", level))
                block, resnet = block + 1, 0
    return convs, stages


def _ldm_resnet(resnet: Any, name: str, path: str, level: int) -> Iterator[Layer]:
    for conv, part in (("conv1", "in_layers"), ("conv2", "out_layers")):
        for index, child in enumerate(getattr(resnet, part)):
            if is_convolution(child):
                yield Layer(f"{name}.{conv}", f"{path}.{part}.{index}", "resnet", level)


def _self_attention(unet: torch.nn.Module) -> Iterator[str]:
    for path, module in unet.named_modules():
        if path.split(".")[-1] != "attn1":
            continue
        # unfuse_qkv_projections() exchanges the processor only and leaves the flag as it was.
        processor = type(getattr(module, "processor", None)).__name__
        if getattr(module, "fused_projections", False) and "Fused" in processor:
            raise UnsupportedModelError(
                f"{path} has fused query, key and value projections; call unfuse_qkv_projections() first"
            )
        if hasattr(module, "to_q") and hasattr(module, "to_k"):
            yield path


def _up_resnets(unet: torch.nn.Module, convs: list[Layer]) -> tuple[tuple[str, int], ...]:
    found = []
    width = 0
    for conv in convs:
        module = base_layer(unet.get_submodule(conv.path))
        if conv.name.startswith("up_blocks") and conv.name.endswith(".conv1"):
            found.append((conv.path.removesuffix(".conv1").rsplit(".in_layers.", 1)[0], width))
        if conv.name.endswith(".conv2"):
            width = module.out_channels
    return tuple(found)


def _family(unet: torch.nn.Module, attention: tuple[str, ...], levels: int) -> str:
    """SDXL has three resolutions (its refiner four, and a vector condition); SD 2.x projects with linear layers."""
    if levels == 3 or hasattr(unet, "label_emb") or getattr(unet, "add_embedding", None) is not None:
        return "sdxl"
    transformer = unet.get_submodule(attention[0].split(".transformer_blocks")[0])
    return "sd21" if isinstance(base_layer(getattr(transformer, "proj_in", None)), torch.nn.Linear) else "sd15"


def _base(unet: torch.nn.Module, family: str) -> int:
    size = getattr(getattr(unet, "config", None), "sample_size", None)
    if isinstance(size, list | tuple) and size:
        size = max(size)
    return 8 * size if isinstance(size, int) and size > 0 else FAMILY_BASE[family]


def blueprint_structure(family: str) -> Structure:
    """The structure of `family`'s published UNet, for plans that are made without a model in memory."""
    blueprint = BLUEPRINTS[family]
    convs, stages = [], [("conv_in", "conv_in")]
    for name, role, level in blueprint.convolutions():
        convs.append(Layer(name, name, role, level))
        stage = ".".join(name.split(".")[:2]) if not name.startswith("mid_block") else "mid_block"
        if stages[-1][0] != stage:
            stages.append((stage, stage))
    return Structure("blueprint", family, FAMILY_BASE[family], tuple(convs), (), tuple(stages), blueprint)
