"""A forward hook that scales the queries of a self-attention layer, so that its entropy is as in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..maths.attention import entropy_scale
from .conv_hook import CurrentCall

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class EntropyHook:
    """The hook on one to_q. area_ratio: picture's area over the training area."""

    def __init__(self, current: CurrentCall, area_ratio: float):
        self._current, self._area_ratio = current, area_ratio

    def attach(self, module: torch.nn.Module) -> list[RemovableHandle]:
        """Register on `module`; the handle removes it again."""
        return [module.register_forward_hook(self._after)]

    def _after(self, module: torch.nn.Module, args: tuple[Any, ...], queries: torch.Tensor) -> torch.Tensor | None:
        if self._current.value is None or not self._current.value.is_at_work:
            return None
        self._current.ran.add(self)
        return queries * entropy_scale(queries.shape[1], self._area_ratio)
