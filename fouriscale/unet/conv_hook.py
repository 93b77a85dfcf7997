"""Forward-pre hooks that low-pass a convolution's input and dilate the convolution, row group by row group.

The module itself is always what computes, so that weight patches (LoRA, casting on load) stay in force. Its
attributes are changed only while its forward runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..maths.cache import FilterCache
from ..plans import Plan, Treatment
from .compiled import is_compiling
from .rows import RowMap
from .structure import Layer
from .wrapped import convolutions, dilate, restore

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class Call:
    """The UNet call that is under way: its fractional dilation, and the rows that have twins, if any.

    At a dilation of 1 the call has the planned size, but the method is not at work in it.
    share_stages: the blocks before the first hooked convolution may be computed once for a cond row and its twin.
    """

    dilation: float
    rows: RowMap | None
    share_stages: bool = True

    @property
    def is_at_work(self) -> bool:
        """Whether convolutions, or attention, are to be changed."""
        return self.dilation > 1.0


class CurrentCall:
    """Where the session puts the call that is under way, and where the hooks look for it and say that they ran.

    value: None outside of calls, and in calls that are left wholly plain. ran: the hooks on convolutions, or on
    attention where that is the method, that were reached in this call.
    """

    def __init__(self) -> None:
        self.value: Call | None = None
        self.ran: set[object] = set()


class ConvHook:
    """The pair of hooks on one convolution. Rows beyond the host's are twins, with a treatment of their own."""

    def __init__(self, layer: Layer, plan: Plan, current: CurrentCall, filters: FilterCache):
        self._layer, self._plan, self._current, self._filters = layer, plan, current, filters
        self._saved: list[tuple[torch.nn.Conv2d, dict[str, Any]]] = []
        self._stride: tuple[int, ...] = (1, 1)
        self._twins_out: torch.Tensor | None = None
        self._finish: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._nested = False
        self._decided: tuple[Any, tuple[Treatment, Treatment]] | None = None

    def attach(self, module: torch.nn.Module) -> list[RemovableHandle]:
        """Register on `module`, a convolution or its adapter's wrapper; the handles remove it again.

        Raises UnsupportedModelError where something in `module` would not follow a dilation.
        """
        self._stride = convolutions(module, self._layer.path)[0].stride
        return [
            module.register_forward_pre_hook(self._before),
            module.register_forward_hook(self._after, always_call=True),
        ]

    def restore(self) -> None:
        """Give the convolutions their own attributes back, whatever happened to the last forward."""
        self._twins_out, self._finish, self._nested = None, None, False
        while self._saved:
            restore(*self._saved.pop())

    def _dilate(self, module: torch.nn.Module, dilation: int) -> None:
        for conv in module.modules():
            if isinstance(conv, torch.nn.Conv2d):
                self._saved.append((conv, dilate(conv, dilation)))

    def _before(self, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        call = self._current.value
        # Inside code that torch.compile traces, a hook would be frozen at the dilation of that moment.
        if call is None or self._nested or not call.is_at_work or is_compiling():
            return None
        self._current.ran.add(self)
        self.restore()
        x = args[0]
        rows = call.rows if call.rows is not None and x.shape[0] == call.rows.total else None
        hosts, twins = self._treatments(call.dilation, (x.shape[-2], x.shape[-1]), self._stride[0])
        finish = self._finisher(hosts, x)
        if rows is None:
            x = self._prepared(x, hosts)
        elif hosts.kernel == twins.kernel and not hosts.coarse:
            x = self._prepared_together(x, rows.batch, hosts, twins)
        else:
            self._twins_out = self._run_alone(module, x[rows.batch :], twins)
            x = self._prepared(x[: rows.batch], hosts)
        self._finish = finish
        if hosts.dilation > 1 and not hosts.coarse:
            self._dilate(module, hosts.dilation)
        return (x, *args[1:])

    def _after(self, module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: Any) -> torch.Tensor | None:
        if self._nested or self._current.value is None or is_compiling():
            return None
        twins, finish = self._twins_out, self._finish
        self.restore()
        if output is None or (twins is None and finish is None):  # None: the forward raised
            return None
        if finish is not None:
            output = finish(output)
        return output if twins is None else torch.cat((output, twins))

    def _run_alone(self, module: torch.nn.Module, x: torch.Tensor, treatment: Treatment) -> torch.Tensor:
        """The module on some rows only, with a treatment of their own."""
        self._nested = True
        finish = self._finisher(treatment, x)
        if treatment.dilation > 1:
            self._dilate(module, treatment.dilation)
        out = module(self._prepared(x, treatment))
        self.restore()
        return out if finish is None else finish(out)

    def _treatments(self, dilation: float, size: tuple[int, int], stride: int) -> tuple[Treatment, Treatment]:
        """Of the host's rows and of the twins; remembered, as nothing changes within a step."""
        key = (dilation, size, stride)
        if self._decided is None or self._decided[0] != key:
            host, twin = (self._plan.treatment(self._layer, is_twin, *key) for is_twin in (False, True))
            self._decided = key, (host, twin)
        return self._decided[1]

    def _prepared(self, x: torch.Tensor, treatment: Treatment) -> torch.Tensor:
        spec = treatment.filter
        if treatment.coarse and spec is not None:
            return self._filters.grid(spec, treatment.dilation, x.device).reduce(x)
        if spec is not None:
            x = self._filters.get(spec, x.device)(x)
        if treatment.stretch != 1.0:
            height, width = (round(side * treatment.stretch) for side in x.shape[-2:])
            x = F.interpolate(x, size=(height, width), mode="bilinear")
        return x

    def _prepared_together(self, x: torch.Tensor, batch: int, hosts: Treatment, twins: Treatment) -> torch.Tensor:
        """The host's rows and the twins prepared each in their way, in one tensor."""
        parts = ((x[:batch], hosts), (x[batch:], twins))
        if hosts.stretch != 1.0 or twins.stretch != 1.0:
            return torch.cat([self._prepared(part, treatment) for part, treatment in parts])
        filters = [None if t.filter is None else self._filters.get(t.filter, x.device) for _, t in parts]
        if all(low_pass is None or low_pass.is_identity for low_pass in filters):
            return x
        if x.requires_grad and torch.is_grad_enabled():
            # What is written into parts of one tensor has no gradient of its own; this costs a copy more.
            return torch.cat([self._prepared(part, treatment) for part, treatment in parts])
        out = torch.empty_like(x)
        for (part, _), low_pass, target in zip(parts, filters, (out[:batch], out[batch:]), strict=True):
            if low_pass is None:
                target.copy_(part)
            else:
                low_pass(part, target)
        return out

    def _finisher(self, treatment: Treatment, x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What is left to do with the output: back from the coarse or the stretched grid."""
        if treatment.coarse and treatment.filter is not None:
            return self._filters.grid(treatment.filter, treatment.dilation, x.device).enlarge
        if treatment.stretch == 1.0:
            return None
        # As large as the plain convolution's, which rounds up: what is added to it by a ControlNet has that size.
        size = tuple(-(-side // stride) for side, stride in zip(x.shape[-2:], self._stride, strict=True))
        return lambda out: F.interpolate(out, size=size, mode="bilinear")
