"""A second, naive implementation of FouriScale (arXiv 2403.12963): what tests compare with, and what costs as much as
the published program. It shares no code with the engine.

Everything is written out the slow way: full complex spectra, full masks in fftshift order, all three guidance rows
[uncond, cond_strong, cond_weak] at every step, also after `stop`, no caching. Layer names are those of diffusers'
UNet2DConditionModel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STOP_BAND = {"sd15": 0.0, "sd21": 0.0, "sdxl": 0.6}  # the gain v that is left above the cut-off
WEAK_DIVISOR = {"sd15": 1.0, "sd21": 1.0, "sdxl": 1.5}  # how much smaller cond_weak's dilation is

_BUCKET_WIDTHS: dict[int, list[int]] = {
    512: [2048, 1984, 1920, 1856], 576: [1792, 1728, 1664], 640: [1600, 1536], 704: [1472, 1408, 1344],
    768: [1344, 1280], 832: [1216, 1152], 896: [1152, 1088], 960: [1088, 1024], 1024: [1024, 960], 1088: [960, 896],
    1152: [896, 832], 1216: [832], 1280: [768], 1344: [768], 1408: [704], 1472: [704], 1536: [640], 1600: [640],
    1664: [576], 1728: [576], 1792: [576], 1856: [512], 1920: [512], 1984: [512], 2048: [512],
}  # fmt: skip
BUCKETS: list[tuple[int, int]] = [(height, width) for height, widths in _BUCKET_WIDTHS.items() for width in widths]


# --- the low-pass filter (Sec. 3, "scale consistency") ---------------------------------------------------------------


def axis_mask(N: int, s: float, v: float, kind: str) -> Tensor:
    """Gains of the ramp filter along one axis, N float64 values in fftshift order (Sec. 3, "scale consistency").

    `kind` is "strong" or "weak" (Sec. 3, "FouriScale guidance": the weak row's ramp is the milder one). Even N gives
    [m reversed, m] with h = N/2 values m; DC is the entry h, so gain(+f) != gain(-f), and taking the real part after
    the inverse transform leaves their mean. The method leaves odd N undefined; `padded_size` never gives one.
    """
    if N % 2:
        raise ValueError(f"the mask is defined for an even number of samples, not for {N}")
    h = N // 2
    if kind == "strong":
        R: float = max(N // 8, 1)
    elif kind == "weak":
        R = (s - 1) * N // (2 * s)  # float64 floor division in this order: the rounding belongs to the definition
    else:
        raise ValueError(f"kind must be 'strong' or 'weak', not {kind!r}")
    m = []
    for j in range(h):
        gain = 1.0 if R == 0 else (1 - v) / R * (h / s + 1 - j) + 1
        m.append(min(max(gain, v), 1.0))
    return torch.tensor(m[::-1] + m, dtype=torch.float64)


def mask2d(N_h: int, N_w: int, s: float, v: float, kind: str) -> Tensor:
    """The two-dimensional mask: the outer product of the axis masks, float64, in fftshift order."""
    return torch.outer(axis_mask(N_h, s, v, kind), axis_mask(N_w, s, v, kind))


def padded_size(h: int, w: int, base_h: float, base_w: float) -> tuple[int, int]:
    """The filter's FFT size (Sec. 3, "adaption to arbitrary-size generation"): r times the base, truncated to int.

    Never smaller than the feature, and odd sizes are rounded up to even: padding only sets the FFT's period.
    """
    r = max(math.ceil(h / base_h), math.ceil(w / base_w))
    N_h, N_w = max(int(r * base_h), h), max(int(r * base_w), w)
    return N_h + N_h % 2, N_w + N_w % 2


def lowpass(x: Tensor, base_h: float, base_w: float, s: float, v: float, kind: str) -> Tensor:
    """Zero-pad right and bottom, filter the full complex spectrum in float32, take the real part, crop.

    `base_h` and `base_w` are the (maybe fractional) size of this layer's feature map at the training resolution.
    """
    h, w = x.shape[-2:]
    N_h, N_w = padded_size(h, w, base_h, base_w)
    padded = F.pad(x.float(), (0, N_w - w, 0, N_h - h))
    spectrum = torch.fft.fftshift(torch.fft.fftn(padded, dim=(-2, -1)), dim=(-2, -1))
    spectrum = spectrum * mask2d(N_h, N_w, s, v, kind).float().to(x.device)
    filtered = torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real
    return filtered[..., :h, :w].to(x.dtype)


# --- schedule and sizes ----------------------------------------------------------------------------------------------


def dilation_at(D: float, i: int, start: int, stop: int) -> float:
    """The fractional dilation at step i: D before `start`, then linear to 1 at `stop` (Sec. 3, annealing)."""
    if i < start:
        return float(D)
    if i >= stop:
        return 1.0
    return max((D - 1.0) * ((stop - i) / (stop - start)) + 1.0, 1.0)


def sdxl_base(h_px: int, w_px: int) -> tuple[int, int, int]:
    """The training bucket with one scale for both axes and the least padding: (base_h, base_w, D), in pixels."""
    best = None
    for base_h, base_w in BUCKETS:
        D = math.ceil(h_px / base_h)
        if math.ceil(w_px / base_w) != D:
            continue
        padding = (D * base_h - h_px) + (D * base_w - w_px)
        if best is None or padding < best[0]:
            best = (padding, base_h, base_w, D)
    if best is None:
        raise ValueError(f"no SDXL bucket has equal scales on both axes for {h_px}x{w_px}")
    return best[1:]


def sd_dilation(latent_h: int, latent_w: int, base_px: tuple[int, int] = (512, 512)) -> int:
    """The initial dilation D of an SD 1.5 or 2.1 run."""
    return max(math.ceil(latent_h * 8 / base_px[0]), math.ceil(latent_w * 8 / base_px[1]))


# --- one convolution, three rows (Sec. 3, "structural consistency") --------------------------------------------------


def conv_rows(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, d: float, base_h: float, base_w: float,
    filtered: bool, v: float, weak_divisor: float,
) -> Tensor:  # fmt: skip
    """A 3x3 convolution of the rows [uncond, cond_strong, cond_weak], each low-passed and dilated by its own rule."""
    if d == 1:
        return F.conv2d(x, weight, bias, stride=stride, padding=1)
    strong_dilation = math.ceil(d)
    weak_dilation = math.ceil(max(d / weak_divisor, 1))
    s = max(d / stride, 1)  # a stride of 2 halves what is left to filter; s == 1 filters nothing
    outputs = []
    for row, kind, dilation in zip(
        x.chunk(3), ("strong", "strong", "weak"), (strong_dilation, strong_dilation, weak_dilation), strict=True
    ):
        if filtered and s > 1:
            row = lowpass(row, base_h, base_w, s, v, kind)
        outputs.append(F.conv2d(row, weight, bias, stride=stride, padding=dilation, dilation=dilation))
    return torch.cat(outputs)


# --- the UNet --------------------------------------------------------------------------------------------------------


def hooked_layers(family: str) -> dict[str, tuple[int, bool]]:
    """The convolutions that are replaced: name -> (downsampling of its input, whether it is low-passed)."""
    if family == "sdxl":
        blocks = [("down_blocks.2", 2, 4), ("mid_block", 2, 4), ("up_blocks.0", 3, 4), ("up_blocks.1", 3, 2)]
        others = {"up_blocks.0.upsamplers.0.conv": (2, False)}
    else:
        blocks = [
            ("down_blocks.2", 2, 4), ("down_blocks.3", 2, 8), ("mid_block", 2, 8),
            ("up_blocks.0", 3, 8), ("up_blocks.1", 3, 4), ("up_blocks.2", 3, 2),
        ]  # fmt: skip
        others = {"down_blocks.2.downsamplers.0.conv": (4, True)}
        for index, downsampling in enumerate((4, 2, 1)):
            others[f"up_blocks.{index}.upsamplers.0.conv"] = (downsampling, False)
    layers = {}
    for block, resnets, downsampling in blocks:
        for index in range(resnets):
            for conv in ("conv1", "conv2"):
                layers[f"{block}.resnets.{index}.{conv}"] = (downsampling, True)
    return layers | others


class LentAttention:
    """Self-attention in which cond_weak has cond_strong's queries and keys (Sec. 3, "FouriScale guidance")."""

    def __call__(self, attn: Any, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        q, k, v = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        q_uncond, q_strong, _ = q.chunk(3)
        k_uncond, k_strong, _ = k.chunk(3)
        q = torch.cat([q_uncond, q_strong, q_strong])
        k = torch.cat([k_uncond, k_strong, k_strong])
        q, k, v = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, scale=attn.scale).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))


def _hooked_forward(
    conv: nn.Conv2d, family: str, downsampling: int, filtered: bool, d: float, latent_h: int, base_px: tuple[int, int]
) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        # pixels per feature; SDXL takes them from the height for both axes
        k = latent_h * 8 / x.shape[-2] if family == "sdxl" else 8 * downsampling
        return conv_rows(
            x, conv.weight, conv.bias, stride=conv.stride[0], d=d, base_h=base_px[0] / k, base_w=base_px[1] / k,
            filtered=filtered, v=STOP_BAND[family], weak_divisor=WEAK_DIVISOR[family],
        )  # fmt: skip

    return forward


@contextmanager
def patched(unet: Any, *, family: str, latent_h: int, base_px: tuple[int, int], d: float) -> Iterator[None]:
    """Within the block, `unet` computes the three rows at the fractional dilation `d`; after it, it is as before."""
    processors = dict(unet.attn_processors)
    lent = {name: LentAttention() if name.endswith("attn1.processor") else old for name, old in processors.items()}
    convs = {unet.get_submodule(name): layer for name, layer in hooked_layers(family).items()}
    try:
        unet.set_attn_processor(lent)
        for conv, (downsampling, filtered) in convs.items():
            conv.forward = _hooked_forward(conv, family, downsampling, filtered, d, latent_h, base_px)
        yield
    finally:
        for conv in convs:
            vars(conv).pop("forward", None)
        unet.set_attn_processor(processors)


@torch.no_grad()
def unet_rows(
    unet: Any, sample: Tensor, t: Tensor | float, context: Tensor, *, family: str, latent_hw: tuple[int, int],
    base_px: tuple[int, int] | None, D: float, i: int, start: int, stop: int,
    added_cond_kwargs: dict[str, Tensor] | None = None, **residuals: object,
) -> Tensor:  # fmt: skip
    """One UNet evaluation of all three rows at step i of a run that anneals from `start` to `stop`.

    `sample`, `context`, the values of `added_cond_kwargs` and a ControlNet's `residuals` already hold the 3B rows,
    [uncond, cond_strong, cond_weak], each the whole batch; so does the result. `family` is "sd15", "sd21" or "sdxl".
    `base_px` None means 512x512 for SD and the best bucket for SDXL. The UNet is as before
    afterwards.
    """
    if len(sample) % 3 or len(context) != len(sample):
        raise ValueError("sample and context must hold the rows [uncond, cond_strong, cond_weak]")
    if tuple(sample.shape[-2:]) != tuple(latent_hw):
        raise ValueError(f"sample is {tuple(sample.shape[-2:])}, latent_hw says {tuple(latent_hw)}")
    if base_px is None:
        base_px = sdxl_base(latent_hw[0] * 8, latent_hw[1] * 8)[:2] if family == "sdxl" else (512, 512)
    d = dilation_at(D, i, start, stop)

    with patched(unet, family=family, latent_h=latent_hw[0], base_px=base_px, d=d):
        return unet(sample, t, encoder_hidden_states=context, added_cond_kwargs=added_cond_kwargs, **residuals).sample
