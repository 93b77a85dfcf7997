"""What a host may say about each UNet call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .convolution import CurrentCall

if TYPE_CHECKING:
    from .session import Session


class CallAdapter:
    """What a host has to say about each UNet call. The base class says nothing: rows are as the session has them."""

    def before(self, session: Session, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Called first thing in every UNet call: may set the session's rows and progress, and change arguments."""
        return args, kwargs

    def may_share_stages(self, kwargs: dict[str, Any]) -> bool:
        """Whether early blocks may run without the twins; False where something in them counts rows."""
        return True

    def one_kind_per_call(self, kwargs: dict[str, Any]) -> bool:
        """Whether cond and uncond rows must be in UNet calls of their own, as in low-memory mode."""
        return False

    def join_attention(self, module: torch.nn.Module, current: CurrentCall) -> list[Any]:
        """May make a self-attention compute a row and its twin at once; handles with `remove()`, or none."""
        return []

    def regrouped(
        self, batch: int, origin: Sequence[int], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Called when every tensor of `batch` rows got other rows: may mend what else counts rows.

        origin: for each row that is there now, the index of the host's row that it was made from.
        """
        return args, kwargs
