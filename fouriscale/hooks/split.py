"""Low memory: rows with weak rows in one UNet call, the other rows in a second one; the same output."""

from __future__ import annotations

from typing import Any

import torch

from .adapter import CallAdapter
from .call import Call
from .current import CurrentCall
from .rows import join_tensors, select


class SecondHalf:
    """The arguments of the rows that the first call leaves out, from before the first call, which may change them."""

    def __init__(self, call: Call, adapter: CallAdapter, args: tuple[Any, ...], kwargs: dict[str, Any]):
        assert call.host is not None
        self._call, self._host, self._adapter = call, call.host, adapter
        others = select((args, kwargs), self._host.batch, call.rest)
        self._args, self._kwargs = adapter.regrouped(self._host.batch, call.rest, *others)
        self.running = False

    def first(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The arguments of the first call: the rows that have weak rows, and these."""
        rows = [*self._host.sources] * 2
        args, kwargs = select((args, kwargs), self._host.batch, rows)
        return self._adapter.regrouped(self._host.batch, rows, args, kwargs)

    def run(self, unet: torch.nn.Module, first: Any, current: CurrentCall) -> Any:
        """Call `unet` for the rest; one output of all rows and weak rows, in the order of a call that was not split."""
        self.running = True
        current.value = self._call.second_half()
        second = unet(*self._args, **self._kwargs)
        count, order = len(self._host.sources), [0] * self._host.batch
        for position, row in enumerate((*self._host.sources, *self._call.rest)):
            order[row] = position if position < count else position + count
        order += range(count, 2 * count)
        return join_tensors(first, second, 2 * count, lambda x, y: torch.cat((x, y))[order])
