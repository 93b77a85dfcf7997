"""UNets of real shape with random weights, and the inputs of one call: what speed depends on, without a download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

_SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
_SDXL: dict[str, Any] = {
    "sample_size": 128,
    "cross_attention_dim": 2048,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 1280 + 6 * 256,  # pooled text and six sizes
}
# diffusers' attention_head_dim is the number of heads: 8 throughout for SD 1.5, 64 channels a head for SDXL.
LAYOUTS: dict[str, dict[str, Any]] = {
    "sd15": {**_SD15, "block_out_channels": (320, 640, 1280, 1280)},
    "sd15-slim": {**_SD15, "block_out_channels": (320, 320, 320, 320)},
    "sdxl": {**_SDXL, "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20)},
    "sdxl-slim": {**_SDXL, "block_out_channels": (320, 320, 320), "attention_head_dim": (5, 5, 5)},
}
TOKENS = 77


def build_unet(layout: str, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """The UNet `layout` of `LAYOUTS`, with diffusers' initial weights."""
    from diffusers import UNet2DConditionModel  # slow to import

    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**LAYOUTS[layout])
    torch.nn.Module.to(unet, dtype)  # diffusers' own `to` warns of modules that no UNet here has
    return unet.eval().requires_grad_(False)


@dataclass(frozen=True)
class Inputs:
    """Arguments of one UNet call: sample (rows, 4, height/8, width/8), timestep, context (rows, 77, width), extras."""

    sample: torch.Tensor
    timestep: torch.Tensor
    context: torch.Tensor
    added: dict[str, torch.Tensor] | None

    def rows(self, order: list[int]) -> Inputs:
        """The same call with the rows of `order`; a row may come twice."""
        added = None if self.added is None else {name: value[order] for name, value in self.added.items()}
        return Inputs(self.sample[order], self.timestep, self.context[order], added)

    def call(self, unet: Any) -> torch.Tensor:
        """What the UNet estimates."""
        return unet(self.sample, self.timestep, self.context, added_cond_kwargs=self.added, return_dict=False)[0]


def make_inputs(unet: Any, width: int, height: int, seed: int = 1) -> Inputs:
    """Noise for the rows [uncond, cond] of one picture of width × height pixels."""
    device, dtype = unet.device, unet.dtype
    random = torch.Generator("cpu").manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random).to(device, dtype)

    added = None
    if unet.config.addition_embed_type == "text_time":
        pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
        ids = torch.tensor([[height, width, 0, 0, height, width]]).repeat(2, 1).to(device, dtype)
        added = {"text_embeds": noise(2, pooled), "time_ids": ids}
    context = noise(2, TOKENS, unet.config.cross_attention_dim)
    return Inputs(noise(2, 4, height // 8, width // 8), torch.tensor(500, device=device), context, added)
