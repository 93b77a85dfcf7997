"""Forward-pre hooks that low-pass a convolution's input and dilate the convolution, row group by row group.

The module itself is always what computes, so that weight patches (LoRA, casting on load) stay in force. Its
attributes are changed only while its forward runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..filters.cache import FilterCache
from ..methods.base import Method, Treatment
from ..unet.compiled import is_compiling
from ..unet.layer import Layer
from ..unet.wrapped import convolutions, dilate, restore
from .call import Call
from .current import CurrentCall

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class ConvHook:
    """The pair of hooks on one convolution. Rows beyond the host's are weak rows, with a treatment of their own."""

    def __init__(self, layer: Layer, current: CurrentCall, filters: FilterCache):
        self._layer, self._current, self._filters = layer, current, filters
        self._saved: list[tuple[torch.nn.Conv2d, dict[str, Any]]] = []
        self._stride: tuple[int, ...] = (1, 1)
        self._weak_out: torch.Tensor | None = None
        self._finish: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._nested = False
        self._decided: tuple[Method, Any, tuple[Treatment, Treatment]] | None = None

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
        self._weak_out, self._finish, self._nested = None, None, False
        while self._saved:
            restore(*self._saved.pop())

    def _dilate(self, module: torch.nn.Module, dilation: int) -> None:
        for conv in module.modules():
            if isinstance(conv, torch.nn.Conv2d):
                self._saved.append((conv, dilate(conv, dilation)))

    def _before(self, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        call = self._current.at_work
        # Inside code that torch.compile traces, a hook would be frozen at the dilation of that moment.
        if call is None or self._nested or is_compiling():
            return None
        self._current.ran.add(self)
        self.restore()
        x = args[0]
        rows = call.weak if call.weak is not None and x.shape[0] == call.weak.total else None
        hosts, weak = self._treatments(call, (x.shape[-2], x.shape[-1]), self._stride[0])
        finish = self._finisher(hosts, x)
        if rows is None:
            x = self._prepared(x, hosts)
        elif hosts.kernel == weak.kernel and not hosts.on_grid:
            x = self._prepared_together(x, rows.batch, hosts, weak)
        else:
            self._weak_out = self._run_alone(module, x[rows.batch :], weak)
            x = self._prepared(x[: rows.batch], hosts)
        self._finish = finish
        if hosts.dilation > 1 and not hosts.on_grid:
            self._dilate(module, hosts.dilation)
        return (x, *args[1:])

    def _after(self, module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: Any) -> torch.Tensor | None:
        if self._nested or self._current.value is None or is_compiling():
            return None
        weak, finish = self._weak_out, self._finish
        self.restore()
        if output is None or (weak is None and finish is None):  # None: the forward raised
            return None
        if finish is not None:
            output = finish(output)
        return output if weak is None else torch.cat((output, weak))

    def _run_alone(self, module: torch.nn.Module, x: torch.Tensor, treatment: Treatment) -> torch.Tensor:
        """The module on some rows only, with a treatment of their own."""
        self._nested = True
        finish = self._finisher(treatment, x)
        if treatment.dilation > 1:
            self._dilate(module, treatment.dilation)
        out = module(self._prepared(x, treatment))
        self.restore()
        return out if finish is None else finish(out)

    def _treatments(self, call: Call, size: tuple[int, int], stride: int) -> tuple[Treatment, Treatment]:
        """Of the host's rows and of the weak rows; remembered, as nothing changes within a step."""
        assert call.dilation is not None
        key = (call.dilation, size, stride)
        if self._decided is None or self._decided[0] is not call.method or self._decided[1] != key:
            host, weak = (call.method.treatment(self._layer, is_weak, *key) for is_weak in (False, True))
            self._decided = call.method, key, (host, weak)
        return self._decided[2]

    def _prepared(self, x: torch.Tensor, treatment: Treatment) -> torch.Tensor:
        spec = treatment.filter
        if treatment.on_grid and spec is not None:
            return self._filters.grid(spec, treatment.dilation, x.device).reduce(x)
        if spec is not None:
            x = self._filters.get(spec, x.device)(x)
        if treatment.stretch != 1.0:
            height, width = (round(side * treatment.stretch) for side in x.shape[-2:])
            x = F.interpolate(x, size=(height, width), mode="bilinear")
        return x

    def _prepared_together(self, x: torch.Tensor, batch: int, hosts: Treatment, weak: Treatment) -> torch.Tensor:
        """The host's rows and the weak rows prepared each in their way, in one tensor."""
        parts = ((x[:batch], hosts), (x[batch:], weak))
        if hosts.stretch != 1.0 or weak.stretch != 1.0:
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
        if treatment.on_grid and treatment.filter is not None:
            return self._filters.grid(treatment.filter, treatment.dilation, x.device).enlarge
        if treatment.stretch == 1.0:
            return None
        # As large as the plain convolution's, which rounds up: what is added to it by a ControlNet has that size.
        size = tuple(-(-side // stride) for side, stride in zip(x.shape[-2:], self._stride, strict=True))
        return lambda out: F.interpolate(out, size=size, mode="bilinear")
