"""Tiny random UNets of the three families under diffusers' naming, inputs for them, and a way to see any change.

The UNets have the real layout with 8 to 16 channels. Their `sample_size` of 8 makes 64×64 pixels the training size, so
a latent of 16×16 is what 1024×1024 pixels is to SD 1.5.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

import fouriscale as fs

BASE = 64
COMMON: dict[str, Any] = {
    "sample_size": BASE // 8,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "sd15": {"block_out_channels": (8, 8, 16, 16)},
    "sd21": {"block_out_channels": (8, 8, 16, 16), "use_linear_projection": True},
    "sdxl": {
        "block_out_channels": (8, 8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 2),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 8 + 6 * 8,
    },
}


def build(family: str, seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    """A tiny UNet of `family` with random weights, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**{**COMMON, **CONFIGS[family], **changes})
    return unet.eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(family: str, rows: int, height: int, width: int, seed: int = 1) -> dict[str, Any]:
    """Keyword arguments for a call with `rows` different rows and a latent of height × width."""
    kwargs: dict[str, Any] = {
        "sample": noise(rows, 4, height, width, seed=seed),
        "timestep": 500,
        "encoder_hidden_states": noise(rows, 7, 8, seed=seed + 1),
    }
    if family == "sdxl":
        sizes = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]]).repeat(rows, 1)
        kwargs["added_cond_kwargs"] = {"text_embeds": noise(rows, 8, seed=seed + 2), "time_ids": sizes}
    return kwargs


def pick(kwargs: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """The same call with some of the rows only, in the order given."""
    return {
        name: value[rows] if isinstance(value, Tensor) else pick(value, rows) if isinstance(value, dict) else value
        for name, value in kwargs.items()
    }


def run(
    unet: nn.Module, kwargs: dict[str, Any], plan: fs.Plan | None = None,
    rows: tuple[str, ...] | None = ("uncond", "cond"), progress: float | tuple[int, int] | None = (0, 50),
) -> Tensor:  # fmt: skip
    """What the UNet estimates: plain without a plan, else with it attached for this one call."""
    with torch.no_grad():
        if plan is None:
            return unet(**kwargs).sample
        with fs.attach(unet, plan, rows=rows) as session:
            session.progress = progress
            return unet(**kwargs).sample


def largest(difference: Tensor) -> float:
    """The largest absolute value."""
    return difference.abs().max().item()


def traces(unet: nn.Module) -> dict[str, Any]:
    """Every attribute of every module, hook dictionaries included, in a form whose equality means nothing changed.

    Objects stand for themselves by identity; lists, tuples and dictionaries are compared by what they hold.
    """

    def freeze(value: Any) -> Any:
        if isinstance(value, dict):
            return type(value), [(key, freeze(item)) for key, item in value.items()]
        if isinstance(value, list | tuple):
            return type(value), [freeze(item) for item in value]
        if isinstance(value, bool | int | float | str | None):
            return value
        return Same(value)

    seen = {"": freeze(vars(nn.modules.module).get("_global_forward_hooks"))}
    for path, module in unet.named_modules():
        for name, value in vars(module).items():
            seen[f"{path}:{name}"] = freeze(value)
        seen[f"{path}:class"] = type(module)
    return seen


class Same:
    """Equal to another only if both hold the very same object, which it keeps alive."""

    def __init__(self, value: object):
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)
