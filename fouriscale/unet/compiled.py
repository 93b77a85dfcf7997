"""What torch.compile does to hooks: code that it compiled does not see them, or keeps them as they once were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..errors import UnsupportedModelError

SAID = "is compiled by torch.compile, which ignores hooks that are added later"


def is_compiling() -> bool:
    """Whether torch.compile is tracing this very code. torch 2.1 cannot say; there it is always False."""
    ask = getattr(torch.compiler, "is_compiling", None)
    return bool(ask is not None and ask())


def is_compiled(module: Any) -> bool:
    """Whether `module` stands for compiled code: made by ``torch.compile(module)``, or by ``module.compile()``."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def refuse_compiled(unet: torch.nn.Module, paths: Iterable[str] = ()) -> None:
    """Raise UnsupportedModelError if `unet`, or a module in it that holds one of the modules at `paths`, is compiled.

    Compiled modules that hold none of them do no harm: diffusers' ``compile_repeated_blocks`` takes the transformer
    blocks only.
    """
    if is_compiled(unet):
        raise UnsupportedModelError(f"{type(unet).__name__} {SAID}; pass the UNet as it was before compilation")
    seen: set[str] = set()
    for path in paths:
        module: Any = unet
        names = path.split(".")
        for k, name in enumerate(names):
            module, at = getattr(module, name), ".".join(names[: k + 1])
            if at not in seen and is_compiled(module):
                raise UnsupportedModelError(
                    f"{at} {SAID}; leave blocks with convolutions uncompiled (compile_repeated_blocks does)"
                )
            seen.add(at)
