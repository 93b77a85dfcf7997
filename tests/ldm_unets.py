"""Turns a diffusers UNet into the ldm ``UNetModel`` with the same weights, as WebUIs hold it.

The ldm package knows neither other group sizes than 32 nor SDXL's depths and vector condition, so its parts are
exchanged where the layout asks for it. Its naming, block order and forward are its own.
"""

from __future__ import annotations

import re
import sys
import types
from typing import Any
from unittest import mock

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

openaimodel = pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
attention = pytest.importorskip("ldm.modules.attention")

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip


class Transformer(attention.SpatialTransformer):
    """ldm's transformer, with the one text condition for all of its layers."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x, [context] * len(self.transformer_blocks))


def ldm_name(name: str, attended: set[int]) -> str:
    """The ldm name of a parameter or module. attended: the up blocks that have attention."""
    for ours, theirs in ENDS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    if match := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", name):
        side, i, kind, j, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        block = f"input_blocks.{3 * i + j + 1}" if side == "down" else f"output_blocks.{3 * i + j}"
        return f"{block}.1.{rest}" if kind == "attentions" else f"{block}.0.{_resnet(rest)}"
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name):
        return (
            "middle_block.1." + match[3]
            if match[1] == "attentions"
            else f"middle_block.{2 * int(match[2])}." + _resnet(match[3])
        )
    if match := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv(.*)", name):
        return f"input_blocks.{3 * (int(match[1]) + 1)}.0.op{match[2]}"
    if match := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv(.*)", name):
        i = int(match[1])
        return f"output_blocks.{3 * i + 2}.{2 if i in attended else 1}.conv{match[2]}"
    raise ValueError(f"no ldm name for {name}")


def _resnet(rest: str) -> str:
    part, _, leaf = rest.partition(".")
    return f"{RESNET[part]}.{leaf}" if leaf else RESNET[part]


def attended_up_blocks(unet: UNet2DConditionModel) -> set[int]:
    """The up blocks of `unet` that have attention."""
    return {i for i, block in enumerate(unet.up_blocks) if getattr(block, "attentions", None)}


def to_ldm(unet: UNet2DConditionModel) -> nn.Module:
    """An ldm UNet that computes what `unet` does; SDXL's takes the vector condition `y` that `ldm_inputs` makes."""
    config = unet.config
    vector = config.addition_embed_type == "text_time"
    channels, heads = list(config.block_out_channels), config.attention_head_dim
    depths = {
        ldm_name(path + ".", attended_up_blocks(unet)).rstrip("."): len(module.transformer_blocks)
        for path, module in unet.named_modules()
        if hasattr(module, "transformer_blocks")
    }
    deepest = max(depths.values())
    levels = [level for level, block in enumerate(unet.down_blocks) if getattr(block, "attentions", None)]

    def norm(width: int, eps: float = 1e-5) -> nn.Module:
        return nn.GroupNorm(config.norm_num_groups, width, eps)

    listconfig = types.ModuleType("omegaconf.listconfig")
    listconfig.ListConfig = type("ListConfig", (), {})  # type: ignore[attr-defined]
    with (
        mock.patch.dict(sys.modules, {"omegaconf.listconfig": listconfig, "omegaconf": types.ModuleType("omegaconf")}),
        mock.patch.object(openaimodel, "normalization", norm),
        mock.patch.object(attention, "Normalize", lambda width: norm(width, 1e-6)),
        mock.patch.object(openaimodel, "SpatialTransformer", Transformer),
    ):
        twin = openaimodel.UNetModel(
            image_size=32, in_channels=4, out_channels=4, model_channels=channels[0], num_res_blocks=2,
            attention_resolutions=[2**level for level in levels], channel_mult=[c // channels[0] for c in channels],
            num_heads=heads if isinstance(heads, int) else heads[-1], use_spatial_transformer=True,
            transformer_depth=deepest, context_dim=[config.cross_attention_dim] * deepest, use_checkpoint=False,
            use_linear_in_transformer=config.use_linear_projection,
            num_classes="continuous" if vector else None,
        )  # fmt: skip
    for path, depth in depths.items():
        del twin.get_submodule(path).transformer_blocks[depth:]
    if vector:
        wide, inner = unet.add_embedding.linear_1.in_features, unet.add_embedding.linear_1.out_features
        twin.label_emb = nn.Sequential(nn.Sequential(nn.Linear(wide, inner), nn.SiLU(), nn.Linear(inner, inner)))
    attended = attended_up_blocks(unet)
    twin.load_state_dict({ldm_name(name, attended): value for name, value in unet.state_dict().items()})
    return twin.eval().requires_grad_(False)


def ldm_inputs(unet: UNet2DConditionModel, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a diffusers call as the ldm UNet takes them."""
    rows = len(kwargs["sample"])
    call = {
        "x": kwargs["sample"],
        "timesteps": torch.full((rows,), float(kwargs["timestep"])),
        "context": kwargs["encoder_hidden_states"],
    }
    if "added_cond_kwargs" in kwargs:
        added = kwargs["added_cond_kwargs"]
        sizes = unet.add_time_proj(added["time_ids"].flatten()).reshape(rows, -1)
        call["y"] = torch.cat([added["text_embeds"], sizes], dim=1)
    return call
