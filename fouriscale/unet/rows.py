"""Rows of the batch: appending twins of the cond (or uncond) rows, and folding them back.

Inside the UNet the batch is [the host's rows …, one twin per doubled row …]. The host never sees the twins.
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
    """Which rows of one UNet call are cond, and which have a twin.

    cond: indices of the cond rows. chunk: rows under one label. doubled: label of the rows that have a twin: "cond" for
    FouriScale's weak estimate, "uncond" for ScaleCrafter's damped one. Twin k stands at row ``batch + k``.
    """

    batch: int
    cond: tuple[int, ...]
    chunk: int = 1
    doubled: str = "cond"

    @classmethod
    def of(cls, labels: Sequence[str], batch: int, doubled: str = "cond") -> RowMap:
        """From labels of equal chunks of the batch. Raises RowsError where the batch does not divide evenly."""
        if batch % len(labels):
            raise RowsError(f"rows = {tuple(labels)!r} do not fit a batch of {batch} rows: {len(labels)} equal chunks")
        chunk = batch // len(labels)
        cond = tuple(c * chunk + r for c, lab in enumerate(labels) if lab == "cond" for r in range(chunk))
        return cls(batch, cond, chunk, doubled)

    @property
    def uncond(self) -> tuple[int, ...]:
        """Indices of the rows that are not cond."""
        return tuple(row for row in range(self.batch) if row not in self.cond)

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the rows that have a twin, in the twins' order."""
        return self.cond if self.doubled == "cond" else self.uncond

    @property
    def is_mixed(self) -> bool:
        """Whether there are both cond and uncond rows."""
        return 0 < len(self.cond) < self.batch

    @property
    def is_paired(self) -> bool:
        """Whether every cond row's uncond row is here and known: AND prompts of unequal length hide it."""
        return self.is_mixed and (self.chunk > 1 or len(self.cond) % len(self.uncond) == 0)

    @property
    def total(self) -> int:
        """Rows inside the UNet."""
        return self.batch + len(self.sources)

    def partners(self) -> list[int]:
        """For each cond row the uncond row of its sample; only where `is_paired`.

        Samples are told apart by their place in the chunk; where every row is labelled for itself, the cond rows of a
        sample (AND prompts) stand together.
        """
        uncond, count = self.uncond, len(self.cond)
        share = count // len(uncond)
        return [uncond[k % self.chunk if self.chunk > 1 else k // share] for k in range(count)]

    def amplify(self, output: torch.Tensor, factor: float) -> torch.Tensor:
        """`output`, (batch, …), with each cond row moved away from its sample's uncond row by `factor`.

        Equal to a CFG scale that is `factor` times larger.
        """
        cond, partners = list(self.cond), self.partners()
        result = output.clone()
        result[cond] = output[partners] + factor * (output[cond] - output[partners])
        return result

    def append(self, tree: Any) -> Any:
        """`tree` with every tensor of `batch` rows extended by its doubled rows; containers are copied."""
        return map_tensors(tree, self.batch, lambda x: torch.cat((x, take(x, self.sources))))

    def strip(self, value: Any) -> Any:
        """A tensor of `total` rows, or all such in a tuple, cut to the host's rows; anything else as it is."""
        if isinstance(value, torch.Tensor | tuple):
            return map_tensors(value, self.total, lambda x: x[: self.batch])
        return value

    def fold(self, tree: Any) -> Any:
        """`tree` with the twins of every tensor of `total` rows folded into the host's rows.

        Cond twins replace their rows. Uncond twins replace theirs and shift each cond row of the sample by as much, so
        that the host's CFG comes to ``twin + w · (cond − uncond)``.
        """
        return map_tensors(tree, self.total, self._fold if self.doubled == "cond" else self._fold_damped)

    def _fold(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.sources) == self.batch:
            return x[self.batch :]
        order = list(range(self.batch))
        for twin, row in enumerate(self.sources):
            order[row] = self.batch + twin
        return x[order]

    def _fold_damped(self, x: torch.Tensor) -> torch.Tensor:
        result, cond, partners = x[: self.batch].clone(), list(self.cond), self.partners()
        result[list(self.uncond)] = x[self.batch :]
        result[cond] = x[cond] + result[partners] - x[partners]
        return result


def take(x: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Some rows of `x`, in that order; a view where they stand together."""
    first = rows[0]
    together = list(rows) == list(range(first, first + len(rows)))
    return x[first : first + len(rows)] if together else x[list(rows)]


def select(tree: Any, batch: int, rows: Sequence[int]) -> Any:
    """`tree` with every tensor of `batch` rows cut to `rows`; containers are copied."""
    return map_tensors(tree, batch, lambda x: take(x, rows))


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


def join_tensors(one: Any, other: Any, rows: int, join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Any:
    """Two trees of the same form as one: tensors that have `rows` rows in `one` are joined with their counterparts."""
    if isinstance(one, torch.Tensor):
        return join(one, other) if one.ndim > 0 and one.shape[0] == rows else one
    if is_dataclass(one) and not isinstance(one, type):
        pairs = {f.name: (getattr(one, f.name), getattr(other, f.name)) for f in fields(one)}
        return replace(one, **{name: join_tensors(a, b, rows, join) for name, (a, b) in pairs.items()})
    if isinstance(one, dict):
        return {name: join_tensors(value, other[name], rows, join) for name, value in one.items()}
    if isinstance(one, list | tuple) and not hasattr(one, "_fields"):
        return type(one)(join_tensors(a, b, rows, join) for a, b in zip(one, other, strict=True))
    return one
