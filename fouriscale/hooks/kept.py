"""Fast mode: what the weak rows changed, kept from one step for the next, which then needs none.

The difference of a cond row's weak and strong estimate changes slowly along the trajectory, so every second step adds
the one of the step before to its strong estimate.
"""

from __future__ import annotations

from typing import Any

import torch

from ..maths.schedule import Progress, position
from .rows import RowMap, map_tensors, take

Key = tuple[int, RowMap, tuple[int, int]]


class KeptDifferences:
    """The differences of one session. Calls within a step are told apart by their order, rows and size."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._step = self._calls = 0
        self._key: Key | None = None
        self._kept: dict[Key, tuple[int, list[torch.Tensor]]] = {}

    def next_call(self, progress: Progress, rows: RowMap, size: tuple[int, int]) -> bool:
        """Whether the call with `rows` may go without weak rows, because the step before computed theirs.

        size: (height, width) of the latent that the UNet works on.
        """
        if progress != self._progress:
            if self._progress is not None and position(progress) < position(self._progress):
                self.forget()  # another picture
            self._progress, self._step, self._calls = progress, self._step + 1, 0
            self._kept = {key: value for key, value in self._kept.items() if value[0] == self._step - 1}
        self._key, self._calls = (self._calls, rows, size), self._calls + 1
        return self._key in self._kept and self._kept[self._key][0] == self._step - 1

    def forget(self) -> None:
        """Nothing that was kept is of use any more."""
        self._kept.clear()

    def keep(self, output: Any, rows: RowMap) -> None:
        """Take the differences from `output`, which has weak rows in every tensor of `rows.total` rows."""
        found: list[torch.Tensor] = []

        def note(x: torch.Tensor) -> torch.Tensor:
            found.append(x[rows.batch :].detach() - take(x, rows.sources).detach())
            return x

        map_tensors(output, rows.total, note)
        if self._key is not None:
            self._kept[self._key] = self._step, found

    def applied(self, output: Any, rows: RowMap) -> Any:
        """`output`, of the host's rows, with the kept differences added to the rows that would have weak rows."""
        assert self._key is not None
        differences = iter(self._kept[self._key][1])

        def shifted(x: torch.Tensor) -> torch.Tensor:
            result = x.clone()
            result[list(rows.sources)] += next(differences)
            return result

        return map_tensors(output, rows.batch, shifted)
