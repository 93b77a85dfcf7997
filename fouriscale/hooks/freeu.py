"""A forward-pre hook that applies FreeU where an up block's resnet takes backbone and skip features together."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch

from ..filters.freeu import apply, lowest_window
from ..filters.separable import SeparableFilter
from .current import CurrentCall

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class FreeUHook:
    """The hook on one resnet. backbone: how many of its input's channels are the backbone's.

    It acts in every call of the planned size, also where the method itself is not at work.
    """

    def __init__(self, current: CurrentCall, backbone: int, b: float, s: float):
        self._current, self._backbone, self._b, self._s = current, backbone, b, s
        self._windows: OrderedDict[tuple[tuple[int, int], torch.device], SeparableFilter] = OrderedDict()

    def attach(self, module: torch.nn.Module) -> list[RemovableHandle]:
        """Register on `module`; the handle removes it again."""
        return [module.register_forward_pre_hook(self._before)]

    def _before(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._current.value is None or not self._current.value.freeu:
            return None
        x = args[0]
        key = ((x.shape[-2], x.shape[-1]), x.device)
        if key not in self._windows:
            self._windows[key] = lowest_window(*key)
            if len(self._windows) > 2:
                self._windows.popitem(last=False)
        return (apply(x, self._backbone, self._b, self._s, self._windows[key]), *args[1:])
