"""What a host may say about each UNet call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..maths.schedule import Progress
from .current import CurrentCall


class Labelled(Protocol):
    """What a session lets a host set and ask before each call."""

    progress: Progress | None

    def label(self, labels: Sequence[str] | None, samples: Sequence[int | None] | None = None) -> None:
        """See `Session.label`."""

    def is_planned(self, latent: torch.Tensor) -> bool:
        """See `Session.is_planned`."""


class CallAdapter:
    """What a host has to say about each UNet call. The base class says nothing: rows are as the session has them."""

    def before(self, session: Labelled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Called first thing in every UNet call: may label the rows, set the progress, and change arguments."""
        return args, kwargs

    def may_share_stages(self, kwargs: dict[str, Any]) -> bool:
        """Whether early blocks may run without the weak rows; False where something in them counts rows."""
        return True

    def one_kind_per_call(self, kwargs: dict[str, Any]) -> bool:
        """Whether cond and uncond rows must be in UNet calls of their own, as in low-memory mode."""
        return False

    def not_coarse(self, unet: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Why this call cannot be made at a smaller size, as a sentence; "" where it can.

        The base class knows code that stands in the UNet's own forward, as ControlNet's does in A1111: what that makes
        has the picture's size.
        """
        if "forward" in vars(unet):
            return "another extension, such as ControlNet, computes inside the UNet at the picture's size"
        return ""

    def join_attention(self, module: torch.nn.Module, current: CurrentCall) -> list[Any]:
        """May make a self-attention compute a row and its weak row at once; handles with `remove()`, or none."""
        return []

    def regrouped(
        self, batch: int, origin: Sequence[int], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Called when every tensor of `batch` rows got other rows: may mend what else counts rows.

        origin: for each row that is there now, the index of the host's row that it was made from.
        """
        return args, kwargs
