"""Exports a small diffusers SD 1.5-type model as an ldm checkpoint that A1111 loads.

    python -m tools.export_ldm fouriscale/model WEBUI/models/Stable-diffusion/bundled.safetensors

Writes the checkpoint, the YAML of the same base name that tells A1111 the widths, and a folder with the text encoder's
config and tokenizer that the YAML points at. Pictures of the bundled model: 256×256; set FouriScale's base size to it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_key(key: str, attended_up: set[int]) -> str:
    """A UNet weight's ldm name, two resnets per down block. attended_up: the up blocks that have attention."""
    for ours, theirs in _UNET_ENDS.items():
        if key.startswith(ours + "."):
            return theirs + key[len(ours) :]
    block, *rest = key.split(".")
    if block == "mid_block":
        kind, index, *tail = rest
        stage = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * int(index)}"
        return _joined(stage, kind, tail)
    number, kind, index, *tail = rest
    i, j = int(number), int(index)
    if kind == "downsamplers":
        return f"input_blocks.{3 * (i + 1)}.0.op.{tail[-1]}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * i + 2}.{2 if i in attended_up else 1}.conv.{tail[-1]}"
    stage = f"input_blocks.{3 * i + j + 1}" if block == "down_blocks" else f"output_blocks.{3 * i + j}"
    return _joined(f"{stage}.{0 if kind == 'resnets' else 1}", kind, tail)


def _joined(stage: str, kind: str, tail: list[str]) -> str:
    if kind == "resnets":
        tail = [_UNET_RESNET[tail[0]], *tail[1:]]
    return ".".join((stage, *tail))


def vae_key(key: str, levels: int) -> str:
    """An AutoencoderKL weight's ldm name."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2", key)
    key = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample", key)
    up = re.match(r"decoder\.up_blocks\.(\d+)\.(.*)", key)
    if up:
        rest = re.sub(r"resnets\.(\d+)", r"block.\1", up[2]).replace("upsamplers.0", "upsample")
        return f"decoder.up.{levels - 1 - int(up[1])}.{rest}"
    mid = re.match(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key)
    if mid:
        if mid[2] == "resnets":
            return f"{mid[1]}.mid.block_{int(mid[3]) + 1}.{mid[4]}"
        part, leaf = mid[4].rsplit(".", 1)
        return f"{mid[1]}.mid.attn_1.{_VAE_ATTENTION[part]}.{leaf}"
    return key


def state_dict(model: Path) -> dict[str, torch.Tensor]:
    """All weights of the diffusers folder `model` under ldm's names, float32."""
    unet_config, vae_config = (json.loads((model / part / "config.json").read_text()) for part in ("unet", "vae"))
    attended = {i for i, kind in enumerate(unet_config["up_block_types"]) if "CrossAttn" in kind}
    levels = len(vae_config["block_out_channels"])
    weights: dict[str, torch.Tensor] = {}
    for key, value in _weights(model / "unet").items():
        weights["model.diffusion_model." + unet_key(key, attended)] = value
    for key, value in _weights(model / "vae").items():
        name = vae_key(key, levels)
        if ".attn_1." in name and value.ndim == 2:
            value = value[..., None, None]  # ldm projects with 1×1 convolutions
        weights["first_stage_model." + name] = value
    for key, value in _weights(model / "text_encoder").items():
        weights["cond_stage_model.transformer." + key] = value
    steps = json.loads((model / "scheduler" / "scheduler_config.json").read_text())
    betas = torch.linspace(steps["beta_start"] ** 0.5, steps["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    weights["betas"] = betas.float()
    weights["alphas_cumprod"] = torch.cumprod(1 - betas, 0).float()
    return {key: value.float().contiguous() for key, value in weights.items()}


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


def ldm_config(model: Path, clip: Path) -> dict[str, Any]:
    """The YAML by which A1111 builds the model; `clip` is the folder with the text encoder's config and tokenizer."""
    unet, vae, text, steps = (
        json.loads((model / part / name).read_text())
        for part, name in (
            ("unet", "config.json"),
            ("vae", "config.json"),
            ("text_encoder", "config.json"),
            ("scheduler", "scheduler_config.json"),
        )
    )
    channels, heads = unet["block_out_channels"], unet["attention_head_dim"]
    params = {
        "linear_start": steps["beta_start"], "linear_end": steps["beta_end"], "num_timesteps_cond": 1,
        "timesteps": 1000, "first_stage_key": "jpg", "cond_stage_key": "txt", "image_size": unet["sample_size"],
        "channels": 4, "cond_stage_trainable": False, "conditioning_key": "crossattn",
        "scale_factor": vae["scaling_factor"], "use_ema": False,
        "parameterization": "v" if steps["prediction_type"] == "v_prediction" else "eps",
        "unet_config": {
            "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            "params": {
                "image_size": unet["sample_size"], "in_channels": 4, "out_channels": 4, "model_channels": channels[0],
                "attention_resolutions": [2**i for i, k in enumerate(unet["down_block_types"]) if "CrossAttn" in k],
                "num_res_blocks": unet["layers_per_block"], "channel_mult": [c // channels[0] for c in channels],
                "num_heads": heads, "use_spatial_transformer": True, "transformer_depth": 1,
                "context_dim": text["hidden_size"], "use_checkpoint": False, "legacy": False,
            },
        },
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": 4,
                "ddconfig": {
                    "double_z": True, "z_channels": 4, "resolution": vae["sample_size"], "in_channels": 3, "out_ch": 3,
                    "ch": vae["block_out_channels"][0],
                    "ch_mult": [c // vae["block_out_channels"][0] for c in vae["block_out_channels"]],
                    "num_res_blocks": vae["layers_per_block"], "attn_resolutions": [], "dropout": 0.0,
                },
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": {
            "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
            "params": {"version": str(clip.resolve()), "device": "cpu"},
        },
    }  # fmt: skip
    return {"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}}


def export(model: Path, out: Path) -> None:
    """Write the checkpoint `out`, its YAML, and the folder with config and tokenizer."""
    clip = out.with_name(out.stem + "_clip")
    out.parent.mkdir(parents=True, exist_ok=True)
    clip.mkdir(exist_ok=True)
    for source in (*(model / "tokenizer").iterdir(), *(model / "text_encoder").iterdir()):
        shutil.copy(source, clip / source.name)
    save_file(state_dict(model), out)
    out.with_suffix(".yaml").write_text(yaml.safe_dump(ldm_config(model, clip), sort_keys=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder in diffusers format")
    parser.add_argument("out", type=Path, help="checkpoint to write, .safetensors")
    given = parser.parse_args()
    export(given.model, given.out)
