"""What is made ready per filter and device, kept for the next call."""

from __future__ import annotations

from collections import OrderedDict

import torch

from .grid import CoarseGrid
from .lowpass import FilterSpec, LowPass


class FilterCache:
    """The filters and coarse grids used last, at most `limit` of them: annealing makes new ones at every step."""

    def __init__(self, limit: int = 32):
        self._limit = limit
        self._made: OrderedDict[tuple[FilterSpec, torch.device, int], LowPass | CoarseGrid] = OrderedDict()

    def get(self, spec: FilterSpec, device: torch.device) -> LowPass:
        """The filter for `spec` on `device`, made at need."""
        made = self._find(spec, device, 1)
        assert isinstance(made, LowPass)
        return made

    def grid(self, spec: FilterSpec, step: int, device: torch.device) -> CoarseGrid:
        """The same filter with a grid that is coarser by `step` > 1."""
        made = self._find(spec, device, step)
        assert isinstance(made, CoarseGrid)
        return made

    def _find(self, spec: FilterSpec, device: torch.device, step: int) -> LowPass | CoarseGrid:
        key = (spec, device, step)
        if key in self._made:
            self._made.move_to_end(key)
        else:
            self._made[key] = LowPass(spec, device) if step == 1 else CoarseGrid(spec, step, device)
            if len(self._made) > self._limit:
                self._made.popitem(last=False)
        return self._made[key]

    def __len__(self) -> int:
        return len(self._made)
