"""Trains the UNet and the text encoder together, by the clock, with check-points that training continues from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from . import tokenizer
from .clock import train_by_clock
from .fast_cpu import autocast, layout, prepare
from .objects import LATENT, Frames, Lessons, caption

CONTEXT = 64
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}
MIN_SNR_GAMMA = 5.0
EMA_DECAY = 0.999


def new_unet() -> UNet2DConditionModel:
    """SD 1.5's blocks at a tenth of the width; cross-attention in the two middle resolutions."""
    return UNet2DConditionModel(
        sample_size=LATENT,
        block_out_channels=(32, 64, 128, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=CONTEXT,
        attention_head_dim=4,
    )


def new_text_encoder(tok: CLIPTokenizer) -> CLIPTextModel:
    """A two-layer CLIP text model, trained with the UNet."""
    config = CLIPTextConfig(
        vocab_size=len(tok), hidden_size=CONTEXT, intermediate_size=4 * CONTEXT, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=77, projection_dim=CONTEXT,
        bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id,
    )  # fmt: skip
    return CLIPTextModel(config)


class Trainer:
    """Everything that a check-point holds, and one training step."""

    def __init__(self, folder: Path, batch: int, rate: float, lessons: Lessons, start: Path | None = None):
        """start: an exported model whose UNet, text encoder and tokenizer training begins with; None: from scratch."""
        if start is None:
            tokenizer.train(folder / "tokenizer")
        else:
            shutil.copytree(start / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
        self.tok = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.frames = Frames()
        self.unet, self.text = prepare(new_unet()), new_text_encoder(self.tok)
        if start is not None:
            self.unet.load_state_dict(UNet2DConditionModel.from_pretrained(start / "unet").state_dict())
            self.text.load_state_dict(CLIPTextModel.from_pretrained(start / "text_encoder").state_dict())
        self.parameters = [*self.unet.parameters(), *self.text.parameters()]
        self.ema = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=0.01, fused=True)
        self.rng = np.random.default_rng()
        self.rate, self.batch, self.lessons = rate, batch, lessons
        self.alphas = DDPMScheduler(**SCHEDULE).alphas_cumprod
        self.step_count, self.seconds = 0, 0.0

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents (n, 4, 32, 32), token ids (n, 77) and timesteps (n,)."""
        places, steps = zip(*(self.lessons.draw(self.rng) for _ in range(self.batch)), strict=True)
        texts = ["" if self.rng.random() < 0.1 else caption(p.index, self.rng) for p in places]
        ids = self.tok(texts, padding="max_length", max_length=77, return_tensors="pt").input_ids
        latents = self.frames.latents(list(places)).contiguous(memory_format=layout())
        return latents, ids, torch.tensor(steps)

    def step(self, rate: float) -> float:
        """One optimiser step at learning rate `rate`; returns the plain v-prediction loss."""
        latent, ids, t = self._batch()
        alpha, sigma = (a.sqrt().view(-1, 1, 1, 1) for a in (self.alphas[t], 1 - self.alphas[t]))
        noise = torch.randn_like(latent)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with autocast():
            context = self.text(ids).last_hidden_state
            v = self.unet(alpha * latent + sigma * noise, t, encoder_hidden_states=context).sample
        error = (v.float() - (alpha * noise - sigma * latent)).pow(2).mean((1, 2, 3))
        snr = (alpha / sigma).pow(2).flatten()
        (error * snr.clamp(max=MIN_SNR_GAMMA) / (snr + 1)).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step_count += 1
        decay = min(EMA_DECAY, (1 + self.step_count) / (10 + self.step_count))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.parameters], 1 - decay)
        return float(error.detach().mean())

    def state(self) -> dict:
        models = {"unet": self.unet.state_dict(), "text": self.text.state_dict()}
        return models | {
            "ema": self.ema, "optimizer": self.optimizer.state_dict(), "step": self.step_count, "seconds": self.seconds,
        }  # fmt: skip

    def load(self, state: dict) -> None:
        self.unet.load_state_dict(state["unet"])
        self.text.load_state_dict(state["text"])
        self.optimizer.load_state_dict(state["optimizer"])
        for mine, saved in zip(self.ema, state["ema"], strict=True):
            mine.copy_(saved)
        self.step_count, self.seconds = state["step"], state["seconds"]

    @torch.no_grad()
    def use_ema(self) -> None:
        """Put the averaged weights in place of the trained ones."""
        for parameter, mean in zip(self.parameters, self.ema, strict=True):
            parameter.copy_(mean)


def rate_at(fraction: float, step: int, peak: float) -> float:
    """Warm-up over 300 steps, constant, then linear to a fiftieth over the last 40 % of the time."""
    return peak * min(1.0, (step + 1) / 300) * min(1.0, max(0.02, (1 - fraction) / 0.4))


def train(folder: Path, minutes: float, batch: int, rate: float, lessons: Lessons, start: Path | None = None) -> None:
    """Train for `minutes` of CPU time in all, earlier runs on the same `folder` included."""
    trainer = Trainer(folder, batch, rate, lessons, start)
    train_by_clock(
        trainer,
        folder / "unet.ckpt",
        minutes,
        lambda fraction, step: rate_at(fraction, step, rate),
        lambda losses: f"loss {np.mean(losses):.4f}",
    )
