"""FouriScale at the cost of its published program: nothing is shared, cached or skipped. For comparison only.

Written from the paper (arXiv 2403.12963). Every step computes the rows [uncond, cond-strong, cond-weak], also after
`stop`; every hooked convolution builds its mask anew and filters by a full complex FFT of the padded map; every row
has an attention matrix of its own. The numbers are those of `fouriscale.hooks.session`, as a test checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from ..methods.fouriscale import FouriScale
from ..planning.plans import Plan
from ..unet.layer import Layer


def axis_gains(length: int, scale: float, stopband: float, weak: bool, device: torch.device) -> torch.Tensor:
    """Gains of one axis in fftshift order, float32, (length,). length: even. weak: the weak row's slope."""
    slope = (scale - 1) * length // (2 * scale) if weak else max(length // 8, 1)
    if slope == 0:
        return torch.ones(length, device=device)
    ramp = torch.arange(length // 2, device=device, dtype=torch.float32)
    half = ((1 - stopband) / slope * (length // 2 / scale + 1 - ramp) + 1).clip(stopband, 1)
    return torch.cat((half.flip(0), half))


def low_pass(x: torch.Tensor, periods: tuple[int, int], scale: float, stopband: float, weak: bool) -> torch.Tensor:
    """Pad (n, channels, h, w) to `periods`, transform, multiply by the mask, transform back, crop."""
    height, width = x.shape[-2:]
    padded = F.pad(x.float(), (0, periods[1] - width, 0, periods[0] - height))
    spectrum = torch.fft.fftshift(torch.fft.fftn(padded, dim=(-2, -1)), dim=(-2, -1))
    mask = torch.outer(*(axis_gains(n, scale, stopband, weak, x.device) for n in periods))
    back = torch.fft.ifftn(torch.fft.ifftshift(spectrum * mask, dim=(-2, -1)), dim=(-2, -1))
    return back.real[..., :height, :width].to(x.dtype)


def periods_of(plan: Plan, layer: Layer, height: int, width: int) -> tuple[int, int]:
    """Height and width of the padded map: a whole multiple of the layer's training size, rounded up to even."""
    factor = plan.size[1] / height if plan.family == "sdxl" else 8 * 2**layer.level
    low, high = plan.base[1] / factor, plan.base[0] / factor
    times = max(math.ceil(plan.size[1] / plan.base[1]), math.ceil(plan.size[0] / plan.base[0]))
    padded = max(int(times * low), height), max(int(times * high), width)
    return padded[0] + padded[0] % 2, padded[1] + padded[1] % 2


def hooked_forward(conv: Any, layer: Layer, plan: Plan, dilation: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """What replaces the forward of one convolution while the method is at work."""
    method = plan.method
    assert isinstance(method, FouriScale)
    stride = conv.stride[0]
    scale = max(dilation / stride, 1.0)
    filtered = plan.settings.filter and layer.role != "upsampler" and scale > 1.0

    def forward(x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for part, weak in zip(x.split((2 * len(x) // 3, len(x) // 3)), (False, True), strict=True):
            whole = math.ceil(max(dilation / method.weak_divisor, 1.0)) if weak else math.ceil(dilation)
            if filtered:
                periods = periods_of(plan, layer, *x.shape[-2:])
                part = low_pass(part, periods, scale, method.bands[weak], weak)
            outputs.append(F.conv2d(part, conv.weight, conv.bias, stride, padding=whole, dilation=whole))
        return torch.cat(outputs)

    return forward


class LentAttention:
    """Self-attention in which the weak rows have the strong rows' queries and keys. For diffusers' Attention."""

    def __call__(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        third = len(hidden_states) // 3
        order = [*range(2 * third), *range(third, 2 * third)]
        parts = attn.to_q(hidden_states)[order], attn.to_k(hidden_states)[order], attn.to_v(hidden_states)
        q, k, v = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in parts)
        out = F.scaled_dot_product_attention(q, k, v, scale=attn.scale).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))


@contextmanager
def naive(unet: Any, plan: Plan, dilation: float) -> Iterator[None]:
    """Patch a diffusers UNet for calls with the rows [uncond, cond-strong, cond-weak], each the whole batch.

    dilation: fractional, of the step at hand; 1 leaves the convolutions alone, as after `stop`.
    """
    processors = dict(unet.attn_processors)
    lent = {name: LentAttention() if ".attn1." in name else old for name, old in processors.items()}
    convs = [unet.get_submodule(layer.path) for layer in plan.layers] if dilation > 1.0 else []
    try:
        unet.set_attn_processor(lent)
        for conv, layer in zip(convs, plan.layers, strict=False):
            conv.forward = hooked_forward(conv, layer, plan, dilation)
        yield
    finally:
        for conv in convs:
            vars(conv).pop("forward", None)
        unet.set_attn_processor(processors)
