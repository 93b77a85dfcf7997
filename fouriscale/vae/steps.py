"""A VAE decoder as a list of steps, each of which sees a neighbourhood of a few pixels once its statistics are known.

Knows the two layouts there are of the Stable Diffusion decoder: diffusers' (`up_blocks`), and ldm's (`up`), which the
WebUIs have. Every convolution stays the module that computes, so that casting on load and weight patches keep working.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UnsupportedModelError

State = tuple[Tensor, ...]  # (activation,) or, inside a residual block, (activation, input of the block)
Affine = tuple[Tensor, Tensor]  # scale and shift, (n, channels, 1, 1): what a GroupNorm comes to
SCORES = 2**26  # attention scores that may be in memory at a time


@dataclass(frozen=True)
class Step:
    """One step. run: from state and affine to state. norm: the GroupNorm whose affine `run` wants, over state[0].

    reach: pixels around a pixel that its value depends on, counted behind the enlargement. factor: enlargement.
    whole: it needs the whole picture at once.
    """

    run: Callable[[State, Affine | None], State]
    norm: nn.GroupNorm | None = None
    reach: int = 0
    factor: int = 1
    whole: bool = False


def steps_of(decoder: nn.Module) -> list[Step]:
    """All steps after `decoder.conv_in`. Raises UnsupportedModelError for what is not a Stable Diffusion decoder."""
    try:
        _reach(decoder.conv_in)
        if hasattr(decoder, "up_blocks"):
            return list(_diffusers(decoder))
        return list(_ldm(decoder))
    except AttributeError as error:
        raise UnsupportedModelError(f"{type(decoder).__name__} cannot be decoded in tiles: {error}") from None


def _diffusers(decoder: Any) -> Iterator[Step]:
    mid = decoder.mid_block
    yield from _residual(mid.resnets[0])
    for attention, resnet in zip(mid.attentions, mid.resnets[1:], strict=True):
        if attention is not None:
            yield _diffusers_attention(attention)
        yield from _residual(resnet)
    for block in decoder.up_blocks:
        if type(block).__name__ != "UpDecoderBlock2D":
            raise UnsupportedModelError(f"{type(block).__name__} cannot be decoded in tiles")
        for resnet in block.resnets:
            yield from _residual(resnet)
        for upsampler in block.upsamplers or ():
            yield _enlarge(upsampler)
    yield _last(decoder.conv_norm_out, decoder.conv_out)


def _ldm(decoder: Any) -> Iterator[Step]:
    if decoder.give_pre_end:
        raise UnsupportedModelError("a decoder without its last layers cannot be decoded in tiles")
    yield from _residual(decoder.mid.block_1)
    yield from _ldm_attention(decoder.mid.attn_1)
    yield from _residual(decoder.mid.block_2)
    for i, level in reversed(list(enumerate(decoder.up))):
        for j, resnet in enumerate(level.block):
            yield from _residual(resnet)
            if len(level.attn) > 0:
                yield from _ldm_attention(level.attn[j])
        if i != 0:
            yield _enlarge(level.upsample)
    yield _last(decoder.norm_out, decoder.conv_out, tanh=bool(decoder.tanh_out))


def _residual(block: Any) -> Iterator[Step]:
    if getattr(block, "time_emb_proj", None) is not None or getattr(block, "output_scale_factor", 1.0) != 1.0:
        raise UnsupportedModelError("a decoder that is told a time cannot be decoded in tiles")
    if "SiLU" not in type(getattr(block, "nonlinearity", nn.SiLU())).__name__:
        raise UnsupportedModelError(f"a decoder with {type(block.nonlinearity).__name__} cannot be decoded in tiles")
    shortcut = getattr(block, "conv_shortcut", None) or getattr(block, "nin_shortcut", None)

    def enter(state: State, affine: Affine | None) -> State:
        return block.conv1(_activate(state[0], affine)), state[0]

    def leave(state: State, affine: Affine | None) -> State:
        x, skip = state
        return (block.conv2(_activate(x, affine)) + (skip if shortcut is None else shortcut(skip)),)

    yield Step(enter, _norm(block.norm1), _reach(block.conv1))
    yield Step(leave, _norm(block.norm2), max(_reach(block.conv2), 0 if shortcut is None else _reach(shortcut)))


def _enlarge(module: Any) -> Step:
    conv = module.conv if hasattr(module, "conv") else None
    if getattr(module, "use_conv_transpose", False) or getattr(module, "norm", None) is not None:
        raise UnsupportedModelError(f"this kind of {type(module).__name__} cannot be decoded in tiles")
    return Step(lambda state, _: (module(state[0]),), None, 0 if conv is None else _reach(conv), factor=2)


def _last(norm: Any, conv: Any, tanh: bool = False) -> Step:
    def run(state: State, affine: Affine | None) -> State:
        out = conv(_activate(state[0], affine))
        return (torch.tanh(out) if tanh else out,)

    return Step(run, _norm(norm), _reach(conv))


def _ldm_attention(block: Any) -> Iterable[Step]:
    if isinstance(block, nn.Identity):
        return ()
    parts = [block.q, block.k, block.v, block.proj_out]
    norm = _norm(block.norm)

    def run(state: State, _: Affine | None) -> State:
        x = state[0]
        normed = norm(x)
        q, k, v = (part(normed).flatten(2).transpose(1, 2) for part in parts[:3])
        return (x + parts[3](_attend(q, k, v).transpose(1, 2).reshape(x.shape)),)

    return (Step(run, whole=True),)


def _diffusers_attention(block: Any) -> Step:
    norm = _norm(block.group_norm)
    if block.heads != 1 or block.rescale_output_factor != 1.0 or not block.residual_connection:
        raise UnsupportedModelError("this kind of attention cannot be decoded in tiles")

    def run(state: State, _: Affine | None) -> State:
        x = state[0]
        tokens = norm(x).flatten(2).transpose(1, 2)
        out = block.to_out[0](_attend(block.to_q(tokens), block.to_k(tokens), block.to_v(tokens)))
        return (x + out.transpose(1, 2).reshape(x.shape),)

    return Step(run, whole=True)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of one head over (n, tokens, channels), a few queries at a time: tokens² may be far too many."""
    # A GPU wants many queries at once; kernels that keep no scores want a dimension for heads.
    scores = max(SCORES, free_memory(q.device) // 16) if q.device.type == "cuda" else SCORES
    q, k, v = (part.unsqueeze(1) for part in (q, k, v))
    size = max(1, scores // (k.shape[0] * k.shape[2]))
    parts = [functional.scaled_dot_product_attention(few, k, v) for few in q.split(size, dim=2)]
    return torch.cat(parts, dim=2).squeeze(1)


def free_memory(device: torch.device) -> int:
    """Bytes that a CUDA device has left, with those that torch holds and does not use."""
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _activate(x: Tensor, affine: Affine | None) -> Tensor:
    """GroupNorm by known statistics, then SiLU."""
    assert affine is not None, "the statistics come before the step"
    scale, shift = affine
    return functional.silu(torch.addcmul(shift, x.to(scale.dtype), scale), inplace=True).to(x.dtype)


def working_dtype(x: Tensor) -> torch.dtype:
    """What statistics and the scaling of x are computed in: float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def _norm(module: Any) -> nn.GroupNorm:
    if not isinstance(module, nn.GroupNorm):
        raise UnsupportedModelError(f"a decoder with {type(module).__name__} cannot be decoded in tiles")
    if module.weight is not None and module.weight.is_meta:
        raise UnsupportedModelError("a decoder whose weights are loaded layer by layer cannot be decoded in tiles")
    return module


def _reach(conv: Any) -> int:
    """Pixels to each side that the convolution sees. Raises UnsupportedModelError if it moves or wraps the picture."""
    if not isinstance(conv, nn.Conv2d):
        raise UnsupportedModelError(f"a decoder with {type(conv).__name__} cannot be decoded in tiles")
    padding = tuple(d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    if conv.padding != padding or conv.stride != (1, 1) or padding[0] != padding[1]:
        raise UnsupportedModelError(f"a decoder with {conv} cannot be decoded in tiles")
    if conv.padding_mode != "zeros":
        raise UnsupportedModelError(f"a decoder with {conv.padding_mode} borders cannot be decoded in tiles")
    return padding[0]
