"""Hooks on modules whose result is the same for a row and its weak row: computed once, then copied.

Two uses. Before the first hooked convolution the two rows are the same numbers, so whole blocks are shared (exact).
In self-attention the weak row is *defined* to use the strong row's queries and keys (paper, section 3.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .current import CurrentCall

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class RowSharing:
    """The pair of hooks on one module: cut the weak rows off its input, append copies to its output."""

    def __init__(self, current: CurrentCall, is_stage: bool):
        self._current, self._is_stage = current, is_stage
        self._cut = False

    def attach(self, module: torch.nn.Module) -> list[RemovableHandle]:
        """Register on `module`; the handles remove it again."""
        return [
            module.register_forward_pre_hook(self._before, with_kwargs=True),
            module.register_forward_hook(self._after),
        ]

    def _before(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._current.value
        rows = call.weak if call is not None and (call.share_stages or not self._is_stage) else None
        # A module that gets other rows than the UNet's (merged tokens, frames of a video) is left alone.
        self._cut = rows is not None and any(
            isinstance(v, torch.Tensor) and v.ndim > 0 and v.shape[0] == rows.total for v in (*args, *kwargs.values())
        )
        if rows is None or not self._cut:
            return None
        # Dictionaries are passed on as the same objects: WebUI hosts keep state in them from block to block.
        return tuple(rows.strip(v) for v in args), {k: rows.strip(v) for k, v in kwargs.items()}

    def _after(self, module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        call = self._current.value
        if not self._cut or call is None or call.weak is None:
            return None
        self._cut = False
        return call.weak.append(output)
