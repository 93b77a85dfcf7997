"""A forward hook that scales the queries of a self-attention layer, so that its entropy is as in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .current import CurrentCall

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class QueryHook:
    """The hook on one to_q, for methods that scale queries (`Method.query_scale`)."""

    def __init__(self, current: CurrentCall):
        self._current = current

    def attach(self, module: torch.nn.Module) -> list[RemovableHandle]:
        """Register on `module`; the handle removes it again."""
        return [module.register_forward_hook(self._after)]

    def _after(self, module: torch.nn.Module, args: tuple[Any, ...], queries: torch.Tensor) -> torch.Tensor | None:
        call = self._current.at_work
        if call is None:
            return None
        self._current.ran.add(self)
        return queries * call.method.query_scale(queries.shape[1])
