"""Convolutions as they stand in a UNet: plain, inside an adapter's wrapper, or with a forward of someone else's.

peft leaves unmerged adapters as wrappers: ``base_layer`` and the adapter's own convolutions side by side on one input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from ..errors import UnsupportedModelError

# Parameters by which peft's kinds of adapters are told apart: LoRA (and DoRA), LoHa, LoKr. They convolve the wrapper's
# own input, by modules inside it or by the base layer's stride, padding and dilation. Others may not.
ADAPTERS = ("lora_A", "hada_w1_a", "lokr_w1")
SIDE = 16  # of the map that doubtful convolutions are tried on


def base_layer(module: Any) -> Any:
    """What `module` wraps, however deep; itself where it wraps nothing."""
    while isinstance(getattr(module, "base_layer", None), torch.nn.Module):
        module = module.base_layer
    return module


def is_convolution(module: Any) -> bool:
    """Whether `module` is a two-dimensional convolution, wrapped or not."""
    return isinstance(base_layer(module), torch.nn.Conv2d)


def convolutions(module: torch.nn.Module, path: str) -> tuple[torch.nn.Conv2d, ...]:
    """All convolutions that see the input of `module`, the UNet's own first: what must be dilated together.

    1×1 convolutions behind them are among them, for which a dilation means nothing.
    Raises UnsupportedModelError where one would not follow its `dilation` and `padding`.
    """
    base = base_layer(module)
    for wrapper in _wrappers(module):
        if not any(hasattr(wrapper, name) for name in ADAPTERS):
            raise UnsupportedModelError(
                f"{path} carries an adapter that cannot be dilated with it ({type(wrapper).__name__}); merge it into "
                "the UNet first, or remove it"
            )
    found = (base, *(m for m in module.modules() if isinstance(m, torch.nn.Conv2d) and m is not base))
    for conv in found:
        _check_follows(conv, path)
    return found


def _wrappers(module: Any) -> Iterator[Any]:
    while isinstance(getattr(module, "base_layer", None), torch.nn.Module):
        yield module
        module = module.base_layer


def _check_follows(conv: torch.nn.Conv2d, path: str) -> None:
    """Refuse a convolution whose own `_conv_forward` or `forward` pads and dilates by other numbers than the module's.

    Code for seamless tiling gives each convolution a `_conv_forward` that has the padding of the day in it. Looking for
    an attribute of the instance alone would refuse the harmless ones too (offloading, casting, tiling that asks the
    module), so the suspect is tried on a few numbers; classes, which hosts replace as a whole, are never suspects.
    """
    own = vars(conv)
    if "_conv_forward" in own and not _conv_forward_follows(conv):
        raise UnsupportedModelError(
            f"{path} has a _conv_forward of its own that keeps to a padding or dilation from elsewhere, as code for "
            "seamless tiling often has, so it cannot be dilated; switch that off"
        )
    if "forward" in own and not _forward_follows(conv):
        raise UnsupportedModelError(
            f"{path} has a forward of its own that does not follow the convolution's padding and dilation, so it "
            "cannot be dilated; switch off what put it there"
        )


def dilate(conv: torch.nn.Conv2d, factor: int) -> dict[str, Any]:
    """Dilate `conv` by `factor`, its padding with it. Returns the attributes as they were, by name."""
    saved = {name: getattr(conv, name) for name in ("dilation", "padding", "_reversed_padding_repeated_twice")}
    assert not isinstance(conv.padding, str), "UNet convolutions are padded by numbers"
    conv.dilation = tuple(d * factor for d in conv.dilation)
    conv.padding = tuple(p * factor for p in conv.padding)
    # Circular and other padding modes pad by this list and ignore `padding`.
    conv._reversed_padding_repeated_twice = [p * factor for p in conv._reversed_padding_repeated_twice]
    return saved


def restore(conv: torch.nn.Conv2d, saved: dict[str, Any]) -> None:
    """Undo `dilate`."""
    for name, value in saved.items():
        setattr(conv, name, value)


@torch.no_grad()
def _tried(conv: torch.nn.Conv2d, forward: Callable[[], torch.Tensor]) -> torch.Tensor | None:
    """What `forward` gives while `conv` is dilated by 2; None where it raises."""
    saved = dilate(conv, 2)
    try:
        return forward()
    except Exception:  # whatever someone else's code raises, it is not what a convolution does
        return None
    finally:
        restore(conv, saved)


def _expected(conv: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """The sum under `conv`'s kernel, dilated by 2, for each channel of `x`: (1, groups, SIDE, SIDE)."""
    assert not isinstance(conv.padding, str)
    padding, dilation = ([2 * n for n in numbers] for numbers in (conv.padding, conv.dilation))
    return F.conv2d(x, x.new_ones(conv.groups, 1, *conv.kernel_size), None, conv.stride, padding, dilation, conv.groups)


def _conv_forward_follows(conv: torch.nn.Conv2d) -> bool:
    """Compares away from the edges, where ways of padding differ as they please."""
    x = torch.arange(conv.groups * SIDE**2, dtype=torch.float32).reshape(1, conv.groups, SIDE, SIDE).square() % 97
    found = _tried(conv, lambda: conv._conv_forward(x, x.new_ones(conv.groups, 1, *conv.kernel_size), None))
    expected = _expected(conv, x)
    return found is not None and found.shape == expected.shape and torch.equal(
        found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2]
    )  # fmt: skip


def _forward_follows(conv: torch.nn.Conv2d) -> bool:
    """Compares which points a single one reaches, as the weights are not known: also where something is added."""
    if hasattr(conv, "_hf_hook") or hasattr(conv, "_diffusers_hook"):
        return True  # accelerate and diffusers put weights in place and call what was there
    weight = conv.weight
    dtype = weight.dtype if weight.dtype in (torch.float64, torch.float32, torch.float16) else torch.bfloat16
    still = torch.zeros(1, conv.in_channels, SIDE, SIDE, dtype=dtype, device=weight.device)
    point = still.clone()
    point[..., SIDE // 2, SIDE // 2] = 1.0
    found = _tried(conv, lambda: (conv.forward(point) - conv.forward(still)).float().abs().amax(1).cpu())
    reached = _expected(conv, point[:, : conv.groups].float().cpu()).amax(1) > 0
    return found is not None and found.shape == reached.shape and bool((found[~reached] <= 1e-3 * found.max()).all())
