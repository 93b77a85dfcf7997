"""Forward-pre hooks that low-pass a convolution's input and dilate the convolution, row group by row group.

The module itself is always what computes, so that weight patches (LoRA, casting on load) stay in force. Its
attributes are changed only while its forward runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..maths.lowpass import FilterCache
from ..planning import Plan
from .rows import RowMap
from .structure import Layer

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class Call:
    """The UNet call that is under way: its fractional dilation (> 1), and the rows that have weak twins, if any.

    share_stages: the blocks before the first hooked convolution may be computed once for a cond row and its twin.
    """

    dilation: float
    rows: RowMap | None
    share_stages: bool = True


class CurrentCall:
    """Where the session puts the call that is under way, and where the hooks look for it."""

    value: Call | None = None


class ConvHook:
    """The pair of hooks on one convolution. Rows beyond the host's are weak twins and get the weak filter."""

    def __init__(self, layer: Layer, plan: Plan, current: CurrentCall, filters: FilterCache):
        self._layer, self._plan, self._current, self._filters = layer, plan, current, filters
        self._saved: dict[str, Any] = {}
        self._module: torch.nn.Conv2d | None = None
        self._weak_out: torch.Tensor | None = None
        self._nested = False

    def attach(self, module: torch.nn.Conv2d) -> list[RemovableHandle]:
        """Register on `module`; the handles remove it again."""
        self._module = module
        return [
            module.register_forward_pre_hook(self._before),
            module.register_forward_hook(self._after, always_call=True),
        ]

    def restore(self) -> None:
        """Give the module its own attributes back, whatever happened to the last forward."""
        self._weak_out, self._nested = None, False
        if self._module is not None:
            for name, value in self._saved.items():
                setattr(self._module, name, value)
        self._saved = {}

    def _dilate(self, module: torch.nn.Conv2d, dilation: int) -> None:
        names = ("dilation", "padding", "_reversed_padding_repeated_twice")
        self._saved = {name: getattr(module, name) for name in names}
        padding = module.padding
        assert not isinstance(padding, str), "UNet convolutions are padded by numbers"
        module.dilation = tuple(d * dilation for d in module.dilation)
        module.padding = tuple(p * dilation for p in padding)
        # Circular and other padding modes pad by this list and ignore `padding`.
        module._reversed_padding_repeated_twice = [p * dilation for p in module._reversed_padding_repeated_twice]

    def _before(self, module: torch.nn.Conv2d, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        call = self._current.value
        if call is None or self._nested:
            return None
        self.restore()
        x = args[0]
        rows = call.rows if call.rows is not None and x.shape[0] == call.rows.total else None
        hosts = x if rows is None else x[: rows.batch]
        strong, weak = self._plan.conv_dilations(call.dilation)
        filtered = self._filter("strong", hosts, module, call.dilation)
        if rows is None:
            x = filtered
        else:
            cut = x[rows.batch :]
            twins = self._filter("weak", cut, module, call.dilation)
            if weak != strong:
                self._weak_out = self._run_alone(module, twins, weak)
                x = filtered
            elif filtered is not hosts or twins is not cut:
                x = torch.cat((filtered, twins))
        if strong > 1:
            self._dilate(module, strong)
        return (x, *args[1:])

    def _after(self, module: torch.nn.Conv2d, args: tuple[torch.Tensor, ...], output: Any) -> torch.Tensor | None:
        if self._nested or self._current.value is None:
            return None
        weak = self._weak_out
        self.restore()
        if weak is None or output is None:  # None: the forward raised
            return None
        return torch.cat((output, weak))

    def _run_alone(self, module: torch.nn.Conv2d, x: torch.Tensor, dilation: int) -> torch.Tensor:
        """The module on some rows only, with a dilation of their own."""
        self._nested = True
        if dilation > 1:
            self._dilate(module, dilation)
        out = module(x)
        self.restore()
        return out

    def _filter(self, kind: Any, x: torch.Tensor, module: torch.nn.Conv2d, dilation: float) -> torch.Tensor:
        height, width = x.shape[-2:]
        spec = self._plan.filter_spec(kind, self._layer, (height, width), dilation / module.stride[0])
        return x if spec is None else self._filters.get(spec, x.device)(x)
