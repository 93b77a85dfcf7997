"""Tiny pipelines with random weights, written as diffusers folders: what the command line and the host are tested on.

Their training size is 64×64 pixels, so that 128×128 is twice it. The tokenizer knows single characters only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import unets

BASE = unets.BASE
FAMILIES = tuple(unets.CONFIGS)
START, END = "<|startoftext|>", "<|endoftext|>"
TOKENS = 16
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


def save(family: str, folder: Path) -> Path:
    """Write the tiny pipeline of `family` to `folder` and return it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = unets.build(family)
        width = unet.config.cross_attention_dim
        prediction = "v_prediction" if family == "sd21" else "epsilon"
        parts = {
            "vae": new_vae(),
            "unet": unet,
            "tokenizer": new_tokenizer(folder / "tokenizer"),
            "scheduler": DDIMScheduler(**SCHEDULE, prediction_type=prediction),
        }
        if family == "sdxl":
            pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
            parts["tokenizer_2"] = new_tokenizer(folder / "tokenizer_2")
            parts["text_encoder"] = CLIPTextModel(text_config(width // 2))
            parts["text_encoder_2"] = CLIPTextModelWithProjection(text_config(width // 2, pooled))
            pipe = StableDiffusionXLPipeline(**parts)
        else:
            parts["text_encoder"] = CLIPTextModel(text_config(width))
            pipe = StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
    pipe.save_pretrained(folder)
    return folder


def save_transformer(folder: Path) -> Path:
    """Write a tiny pipeline that has a transformer where Stable Diffusion has its UNet."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=4, num_layers=1, sample_size=8, norm_num_groups=4,
        num_embeds_ada_norm=10,
    )  # fmt: skip
    DiTPipeline(transformer, new_vae(), DDIMScheduler(**SCHEDULE)).save_pretrained(folder)
    return folder


def new_vae() -> AutoencoderKL:
    """A decoder that makes eight times the latent's size with four channels."""
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, norm_num_groups=2, latent_channels=4,
    )  # fmt: skip


def text_config(width: int, projection: int = 4) -> CLIPTextConfig:
    """One layer of `width`, for the vocabulary that `new_tokenizer` writes."""
    end = len(vocabulary()) - 1
    return CLIPTextConfig(
        vocab_size=end + 1, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=TOKENS, projection_dim=projection, bos_token_id=end - 1, eos_token_id=end,
        pad_token_id=end,
    )  # fmt: skip


def vocabulary() -> dict[str, int]:
    """Printable ASCII, each character inside a word and at its end, then the two special tokens."""
    letters = [chr(code) for code in range(33, 127)]
    return {t: i for i, t in enumerate([*letters, *(c + "</w>" for c in letters), START, END])}


def new_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer without merges, read from the files that it was made from."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder)
