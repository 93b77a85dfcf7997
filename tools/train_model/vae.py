"""Trains the autoencoder: a decoder from the premultiplied RGBA latents to pictures, an encoder back to them.

The latents are given (see `objects`), so there is nothing to discover: the decoder is an eightfold enlarger that knows
the drawings, and the encoder's mean is regressed to the latent. The classes and the 32 norm groups are those that
both diffusers and the CompVis `ldm` AutoencoderKL have, so one set of weights serves both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image

from fouriscale.lab.measure import truth

from .clock import train_by_clock
from .fast_cpu import Float32GroupNorm, autocast, layout
from .objects import LARGEST, LATENT, LATENT_GAIN, NAMES, PIXELS, SMALLEST, Frames, Placement
from .unet import EMA_DECAY, rate_at

WIDTH = 64  # two channels a norm group: a single one would be an instance norm, which forgets flat colours
LOG_VARIANCE = -8.0  # the encoder's samples are then its mean but for noise of 0.02
EDGE_WEIGHT = 1.0
ENCODER_EVERY = 3  # the encoder's task is easy, a third of the steps do


def new_vae() -> AutoencoderKL:
    """Stable Diffusion's autoencoder at half the width and with one block less at each resolution."""
    return AutoencoderKL(
        block_out_channels=(WIDTH,) * 4,
        layers_per_block=1,
        norm_num_groups=32,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=PIXELS,
        scaling_factor=1.0,
    )


@torch.no_grad()
def start_as_identity(vae: AutoencoderKL) -> None:
    """Let the new network pass its input through, so that the minutes go into edges rather than into copying.

    Residual branches start small, enlarging convolutions as copies. Biases of alternate sign in front of the norms
    keep each group's variance near a constant: else what a norm does depends on how much of the picture is covered.
    """
    signs = torch.tensor([1.0, -1.0]).repeat(WIDTH // 2)
    for module in vae.modules():
        if hasattr(module, "conv1") and hasattr(module, "conv2"):
            module.conv1.bias.copy_(signs)
            module.conv2.weight.mul_(0.1)
            module.conv2.bias.zero_()
        elif type(module).__name__ == "Attention":
            module.to_out[0].weight.mul_(0.1)
            module.to_out[0].bias.zero_()
        elif type(module).__name__ == "Upsample2D":
            module.conv.weight.mul_(0.1)
            module.conv.weight[:, :, 1, 1] += torch.eye(WIDTH)
            module.conv.bias.zero_()
        elif type(module).__name__ == "Downsample2D":
            module.conv.weight.mul_(0.1)
            module.conv.weight[:, :, :2, :2] += torch.eye(WIDTH)[..., None, None] / 4
            module.conv.bias.zero_()
    for conv in (vae.encoder.conv_in, vae.decoder.conv_in):
        conv.bias.copy_(signs)
    vae.post_quant_conv.weight.copy_(torch.eye(4)[..., None, None])
    vae.post_quant_conv.bias.zero_()
    vae.quant_conv.weight.copy_(torch.eye(8)[..., None, None])
    vae.quant_conv.bias.zero_()
    vae.encoder.conv_out.bias[4:] = LOG_VARIANCE


@dataclass(frozen=True)
class Object:
    """An object on a canvas, all in picture pixels (and so at any place in a latent pixel)."""

    index: int
    side: int
    top: int
    left: int
    flip: bool


class Windows:
    """Cuts windows out of random canvases: the UNet's frames, larger ones, and ones with several objects."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self._drawn = [truth.drawing(name) for name in NAMES]

    def _objects(self, size: int) -> list[Object]:
        """The objects of a random canvas, their places counted from the corner of a window of `size`."""
        kind = self.rng.random()
        if kind < 0.5:  # what the UNet is trained on
            canvas, count, low, high = LATENT, 1, SMALLEST, LARGEST
        elif kind < 0.8:  # one object, as large canvases show it when repetition is suppressed
            canvas = int(self.rng.integers(40, 129))
            count, low, high = 1, SMALLEST, 0.97 * canvas
        else:
            canvas = int(self.rng.integers(48, 129))
            count, low, high = int(self.rng.integers(2, 5)), 12, 0.7 * canvas
        objects = []
        for _ in range(count):
            side = round(8 * math.exp(self.rng.uniform(math.log(low), math.log(high))))
            top, left = (int(v) for v in self.rng.integers(0, 8 * canvas - side + 1, 2))
            objects.append(Object(int(self.rng.integers(len(NAMES))), side, top, left, bool(self.rng.integers(2))))
        # the window's middle is in or near an object, as far as the canvas allows
        middle = np.array([objects[0].top, objects[0].left]) + self.rng.uniform(-0.1, 1.1, 2) * objects[0].side
        top, left = (int(v) for v in np.clip(middle - 4 * size, 0, 8 * max(0, canvas - size)))
        return [Object(o.index, o.side, o.top - top, o.left - left, o.flip) for o in objects]

    def render(self, objects: list[Object], size: int) -> np.ndarray:
        """Premultiplied RGBA in [0, 1] of the window, (8·size, 8·size, 4)."""
        pixels = 8 * size
        frame = np.zeros((pixels, pixels, 4), np.float32)
        for o in objects:
            top, left = max(0, o.top), max(0, o.left)
            bottom, right = min(pixels, o.top + o.side), min(pixels, o.left + o.side)
            if bottom <= top or right <= left:
                continue
            x0, x1 = (v - o.left for v in (left, right))
            if o.flip:
                x0, x1 = o.side - x1, o.side - x0
            box = tuple(min(float(truth.SIDE), truth.SIDE / o.side * v) for v in (x0, top - o.top, x1, bottom - o.top))
            part = self._drawn[o.index].resize((right - left, bottom - top), Image.Resampling.BOX, box)
            part = np.asarray(part, np.float32) / 255
            part = part[:, ::-1] if o.flip else part
            below = frame[top:bottom, left:right]
            frame[top:bottom, left:right] = part + below * (1 - part[..., 3:])
        return frame

    def batch(self, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (count, 4, size, size) and pictures (count, 3, 8·size, 8·size) in [−1, 1]."""
        frames = []
        while len(frames) < count:
            frame = self.render(self._objects(size), size)
            # a window without background has norm statistics that no whole picture has
            if 0.03 < frame[..., 3].mean() < 0.9 or self.rng.random() < 0.05:
                frames.append(frame)
        rgba = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
        return LATENT_GAIN * F.avg_pool2d(rgba, 8), 2 * (rgba[:, :3] + 1 - rgba[:, 3:]) - 1


def disturb(latent: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Latents with the errors of sampled ones: fine noise, and blotches of a few latent pixels."""
    n, c, h, w = latent.shape
    fine, coarse = (torch.from_numpy(np.abs(rng.normal(0, s, (n, 1, 1, 1))).astype(np.float32)) for s in (0.05, 0.03))
    blotches = F.interpolate(torch.randn(n, c, h // 4, w // 4), size=(h, w), mode="bilinear")
    return latent + fine * torch.randn_like(latent) + coarse * blotches


def picture_loss(made: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """L1 of values and of differences between neighbours; beyond black and white nothing is an error."""
    made = torch.where((picture.abs() > 0.999) & (made * picture.sign() > 1), picture, made)
    error = made - picture
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + EDGE_WEIGHT * edges


class Trainer:
    """Everything that a check-point holds, and one training step."""

    def __init__(self, batch: int, rate: float):
        self.rng = np.random.default_rng()
        self.windows = Windows(self.rng)
        self.vae = new_vae()
        start_as_identity(self.vae)
        for module in self.vae.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.__class__ = Float32GroupNorm
        self.vae.to(memory_format=layout())
        self.parameters = list(self.vae.parameters())
        self.ema = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=0.0, fused=True)
        self.batch = batch
        self.step_count, self.seconds = 0, 0.0

    def step(self, rate: float) -> tuple[float, float]:
        """One optimiser step at learning rate `rate`; the decoder's L1 and the encoder's MSE (NaN if left out)."""
        size = int(self.rng.choice([16, 24, 32, 48, 64], p=[0.55, 0.2, 0.18, 0.04, 0.03]))
        latent, picture = self.windows.batch(max(1, self.batch * 16**2 // size**2), size)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        noisy = disturb(latent, self.rng).contiguous(memory_format=layout())
        with autocast():
            made = self.vae.decode(noisy).sample
        made = made.float()
        loss, encoder_error = picture_loss(made, picture), float("nan")
        if self.step_count % ENCODER_EVERY == 0:
            with autocast():
                found = self.vae.quant_conv(self.vae.encoder(picture.contiguous(memory_format=layout())))
            mean, log_variance = found.float().chunk(2, 1)
            squares = F.mse_loss(mean, latent)
            loss = loss + squares + 1e-3 * (log_variance - LOG_VARIANCE).pow(2).mean()
            encoder_error = squares.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step_count += 1
        decay = min(EMA_DECAY, (1 + self.step_count) / (10 + self.step_count))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.parameters], 1 - decay)
        return F.l1_loss(made.detach().clamp(-1, 1), picture).item(), encoder_error

    def state(self) -> dict:
        return {
            "vae": self.vae.state_dict(), "ema": self.ema, "optimizer": self.optimizer.state_dict(),
            "step": self.step_count, "seconds": self.seconds,
        }  # fmt: skip

    def load(self, state: dict) -> None:
        self.vae.load_state_dict(state["vae"])
        self.optimizer.load_state_dict(state["optimizer"])
        for mine, saved in zip(self.ema, state["ema"], strict=True):
            mine.copy_(saved)
        self.step_count, self.seconds = state["step"], state["seconds"]


def load_ema(path: Path) -> AutoencoderKL:
    """The averaged autoencoder of a check-point, for use."""
    vae, state = new_vae(), torch.load(path, weights_only=True)
    with torch.no_grad():
        for parameter, mean in zip(vae.parameters(), state["ema"], strict=True):
            parameter.copy_(mean)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def errors(vae: AutoencoderKL, frames: Frames, noise: float = 0.0) -> tuple[float, float, float]:
    """Mean absolute errors on one frame of each object: decoded picture and encoded-and-decoded picture, in 255ths
    of the range, and encoded latent."""
    rng, sums = np.random.default_rng(0), np.zeros(3)
    for index in range(len(NAMES)):
        place = Placement.random(rng)
        place = [Placement(index, place.side, place.top, place.left, place.flip)]
        latent, picture = frames.latents(place), frames.pictures(place)
        found = vae.encode(picture).latent_dist.mean
        for k, z in enumerate((latent + noise * torch.randn_like(latent), found)):
            sums[k] += 127.5 * F.l1_loss(vae.decode(z).sample.clamp(-1, 1), picture).item()
        sums[2] += F.l1_loss(found, latent).item()
    return tuple(float(v) for v in sums / len(NAMES))


def train(folder: Path, minutes: float, batch: int, rate: float) -> None:
    """Train for `minutes` of CPU time in all, earlier runs on the same `folder` included."""
    trainer = Trainer(batch, rate)

    def report(losses: list) -> str:
        l1, mse = np.nanmean(losses, 0)
        return f"decoder L1 {127.5 * l1:.2f}/255  encoder MSE {mse:.5f}"

    saved = folder / "vae.ckpt"
    train_by_clock(trainer, saved, minutes, lambda fraction, step: rate_at(fraction, step, rate), report)
    print("errors, 255ths: decoded {:.2f}, encoded and decoded {:.2f}; of latents {:.4f}".format(
        *errors(load_ema(saved), Frames())
    ))  # fmt: skip
