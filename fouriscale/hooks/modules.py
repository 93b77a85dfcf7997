"""The hooks on the modules inside one UNet: which there are, by a plan, and their removal."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from ..filters.cache import FilterCache
from ..planning.plans import Plan
from .adapter import CallAdapter
from .attention import QueryHook
from .convolution import ConvHook
from .current import CurrentCall
from .freeu import FreeUHook
from .sharing import RowSharing


class ModuleHooks:
    """All of them, registered on construction. acting: how many say that the method acted, when they run.

    Raises UnsupportedModelError where a convolution cannot be dilated; what was registered by then is removed.
    """

    def __init__(
        self, unet: torch.nn.Module, plan: Plan, current: CurrentCall, filters: FilterCache, adapter: CallAdapter
    ):
        self._handles: list[RemovableHandle] = []
        self._stand_ins: list[Any] = []  # for parts of the host's attention; each has remove()
        self._convs: list[ConvHook] = []
        self._unet, self._current = unet, current
        try:
            self._on_convolutions(plan, filters)
            self._on_attention(plan, adapter)
        except BaseException:
            self.remove()
            raise
        self.acting = len(plan.attention) if plan.method.scales_queries else len(self._convs)

    def __len__(self) -> int:
        return len(self._handles)

    def _on_convolutions(self, plan: Plan, filters: FilterCache) -> None:
        for layer in plan.hooked:
            conv = ConvHook(layer, self._current, filters)
            self._convs.append(conv)
            self._handles += conv.attach(self._unet.get_submodule(layer.path))
        if plan.freeu is not None:
            for path, backbone in plan.up_resnets:
                factors = plan.freeu.factors(backbone)
                if factors is not None:
                    self._handles += FreeUHook(self._current, backbone, *factors).attach(self._unet.get_submodule(path))
        if plan.method.weak_label is not None:
            for path in plan.shared:
                self._handles += RowSharing(self._current, is_stage=True).attach(self._unet.get_submodule(path))

    def _on_attention(self, plan: Plan, adapter: CallAdapter) -> None:
        for path in plan.attention:
            attention = self._unet.get_submodule(path)
            if plan.method.weak_label == "cond":
                self._stand_ins += adapter.join_attention(attention, self._current)
                for projection in ("to_q", "to_k"):
                    sharing = RowSharing(self._current, is_stage=False)
                    self._handles += sharing.attach(attention.get_submodule(projection))
            if plan.method.scales_queries:
                self._handles += QueryHook(self._current).attach(attention.get_submodule("to_q"))

    def restore(self) -> None:
        """Give the convolutions their own attributes back, whatever happened to the last forward."""
        for conv in self._convs:
            conv.restore()

    def remove(self) -> None:
        """Remove every hook and stand-in."""
        self.restore()
        for handle in (*self._handles, *self._stand_ins):
            handle.remove()
        self._handles.clear()
        self._stand_ins.clear()
        self._convs.clear()
