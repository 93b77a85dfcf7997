"""What cannot be differentiated is refused before it is computed."""

from __future__ import annotations

import torch

from ..errors import UnsupportedModelError


def refuse_checkpointing(unet: torch.nn.Module) -> None:
    """Raise UnsupportedModelError if blocks of `unet` would be computed again for their gradients.

    That happens after the UNet call, maybe after the session: hooks would find other rows than they were given.
    """
    if torch.is_grad_enabled() and any(getattr(m, "gradient_checkpointing", False) for m in unet.modules()):
        raise UnsupportedModelError(
            "gradient checkpointing computes blocks of the UNet again when FouriScale no longer knows their rows; "
            "call disable_gradient_checkpointing(), or run under torch.no_grad()"
        )
