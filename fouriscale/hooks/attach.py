"""Attaching a session to a UNet, and counting what is attached by looking at the hooks themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..maths.noise import NoiseSchedule
from ..planning.plans import Plan
from .adapter import CallAdapter
from .attention import QueryHook
from .convolution import ConvHook
from .freeu import FreeUHook
from .session import Session, session_on
from .sharing import RowSharing


def attach(
    unet: torch.nn.Module,
    plan: Plan,
    rows: Sequence[str] | None = ("uncond", "cond"),
    adapter: CallAdapter | None = None,
    noise: NoiseSchedule | None = None,
) -> Session:
    """Hook `unet` by `plan` and return the session, which must be closed (or used with ``with``).

    rows: labels of equal chunks of the batch that the UNet will be called with. The call returns the same rows: uncond
    as it is, cond taken from its weak row (paper, section 3.4). A plan that does nothing attaches nothing.
    noise: the model's own schedule and kind of prediction, which the coarse start computes with; None: Stable
    Diffusion's schedule for predicted noise, and the outcome says so. Raises RowsError for bad labels.
    """
    return Session(unet, plan, rows, adapter, noise).attach()


def count_hooks(unet: torch.nn.Module) -> int:
    """Number of FouriScale's hooks on `unet` and its layers, counted on the modules themselves."""
    owners = (Session, ConvHook, RowSharing, FreeUHook, QueryHook)
    return sum(
        isinstance(getattr(hook, "__self__", None), owners)
        for module in unet.modules()
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
        for hook in hooks.values()
    )


__all__ = ["attach", "count_hooks", "session_on"]
