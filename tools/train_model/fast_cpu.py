"""What makes training fast on a CPU: float32 group norms, attention as plain matrix products, bf16 where it pays."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention


class Float32GroupNorm(torch.nn.GroupNorm):
    """Group norm in float32: the bfloat16 kernel's backward pass is several times slower on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps)


class MatmulAttention:
    """Softmax attention as two batched matrix products: faster than the flash kernel for short sequences."""

    def __call__(self, attn: Attention, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (attn.head_to_batch_dim(z) for z in (q, k, v))
        weights = torch.bmm(q * attn.scale, k.transpose(1, 2)).softmax(-1, dtype=q.dtype)
        out = attn.batch_to_head_dim(torch.bmm(weights, v))
        return attn.to_out[1](attn.to_out[0](out))


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware; elsewhere that is ten times slower than float32."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast() -> torch.autocast:
    """bf16 where it pays."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bf16())


def layout() -> torch.memory_format:
    """The faster of the two for convolutions: channels last in bf16, by an eighth the other in float32."""
    return torch.channels_last if has_bf16() else torch.contiguous_format


def prepare(unet: torch.nn.Module) -> torch.nn.Module:
    """Change `unet` in place for training; saving and loading its weights is unaffected."""
    for module in unet.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.__class__ = Float32GroupNorm
    unet.set_attn_processor(MatmulAttention())
    return unet.to(memory_format=layout())
