"""Rows of the batch: appending the weak twins of the cond rows, and folding them back.

Inside the UNet the batch is [the host's rows …, one weak twin per cond row …]. The host never sees the twins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch

from ..errors import RowsError

LABELS = ("uncond", "cond")


def check_labels(labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """The labels as a tuple. Raises RowsError unless they are "uncond" and "cond", or None for "do not expand"."""
    if labels is None:
        return None
    if isinstance(labels, str) or not labels or any(label not in LABELS for label in labels):
        raise RowsError(f'rows = {labels!r} is not allowed: a sequence of "uncond" and "cond", or None')
    return tuple(labels)


@dataclass(frozen=True)
class RowMap:
    """Which rows of one UNet call have a weak twin. cond: their indices; twin k stands at row ``batch + k``.

    chunk: rows under one label.
    """

    batch: int
    cond: tuple[int, ...]
    chunk: int = 1

    @classmethod
    def of(cls, labels: Sequence[str], batch: int) -> RowMap:
        """From labels of equal chunks of the batch. Raises RowsError where the batch does not divide evenly."""
        if batch % len(labels):
            raise RowsError(f"rows = {tuple(labels)!r} do not fit a batch of {batch} rows: {len(labels)} equal chunks")
        chunk = batch // len(labels)
        cond = tuple(c * chunk + r for c, lab in enumerate(labels) if lab == "cond" for r in range(chunk))
        return cls(batch, cond, chunk)

    @property
    def total(self) -> int:
        """Rows inside the UNet."""
        return self.batch + len(self.cond)

    def _twins(self, x: torch.Tensor) -> torch.Tensor:
        first, last = self.cond[0], self.cond[-1]
        if last - first + 1 == len(self.cond):
            return x[first : last + 1]
        return x[list(self.cond)]

    def amplify(self, output: torch.Tensor, factor: float) -> torch.Tensor:
        """`output`, (batch, …), with each cond row moved away from its sample's uncond row by `factor`.

        Equal to a CFG scale that is `factor` times larger. Samples are told apart by their place in the chunk; where
        every row is labelled for itself, the cond rows of a sample (AND prompts) stand together.
        """
        cond = list(self.cond)
        uncond = [row for row in range(self.batch) if row not in self.cond]
        share = max(1, len(cond) // len(uncond))
        partners = [
            uncond[k % self.chunk if self.chunk > 1 else min(k // share, len(uncond) - 1)] for k in range(len(cond))
        ]
        result = output.clone()
        result[cond] = output[partners] + factor * (output[cond] - output[partners])
        return result

    def append(self, tree: Any) -> Any:
        """`tree` with every tensor of `batch` rows extended by its cond rows; containers are copied, never changed."""
        return map_tensors(tree, self.batch, lambda x: torch.cat((x, self._twins(x))))

    def strip(self, value: Any) -> Any:
        """A tensor of `total` rows, or all such in a tuple, cut to the host's rows; anything else as it is."""
        if isinstance(value, torch.Tensor | tuple):
            return map_tensors(value, self.total, lambda x: x[: self.batch])
        return value

    def fold(self, tree: Any) -> Any:
        """`tree` with the cond rows of every tensor of `total` rows replaced by their weak twins."""
        return map_tensors(tree, self.total, self._fold)

    def _fold(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.cond) == self.batch:
            return x[self.batch :]
        order = list(range(self.batch))
        for twin, row in enumerate(self.cond):
            order[row] = self.batch + twin
        return x[order]


def map_tensors(tree: Any, rows: int, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Apply `change` to every tensor with `rows` rows in nested dicts, lists, tuples and output records."""
    if isinstance(tree, torch.Tensor):
        return change(tree) if tree.ndim > 0 and tree.shape[0] == rows else tree
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **{f.name: map_tensors(getattr(tree, f.name), rows, change) for f in fields(tree)})
    if isinstance(tree, dict):
        return {k: map_tensors(v, rows, change) for k, v in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(v, rows, change) for v in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors(v, rows, change) for v in tree)
    return tree
