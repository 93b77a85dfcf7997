"""Rows of the batch: appending weak rows to the cond (or uncond) rows, and folding them back.

Inside the UNet the batch is [the host's rows …, one weak row for each row that has one …]. The host never sees them.
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


Samples = tuple[int | None, ...]


def samples_of_chunks(labels: Sequence[str], chunk: int) -> Samples | None:
    """The sample of each row, as far as labels of equal chunks of `chunk` rows say it by themselves; else None.

    Every sample has one uncond row. One uncond chunk holds a row of every sample, and so does each of the others. Of
    as many uncond chunks as cond chunks, the k-th belongs to the k-th. Anything else, as prompts of unequal numbers of
    AND parts, must be said by who made the batch.
    """
    uncond = list(labels).count("uncond")
    if uncond == 1:
        numbers = [0] * len(labels)
    elif 2 * uncond == len(labels):
        numbers = [list(labels[:k]).count(label) for k, label in enumerate(labels)]
    else:
        return None
    return tuple(number * chunk + row for number in numbers for row in range(chunk))


@dataclass(frozen=True)
class RowMap:
    """Which rows of one UNet call are cond, which have a weak row, and which belong together.

    cond: indices of the cond rows. doubled: label of the rows that have a weak row: "cond" for FouriScale's weak
    estimate, "uncond" for ScaleCrafter's damped one. Weak row k stands at row ``batch + k``. samples: for each row the
    number of the sample that it is of, or None where that is not known; None: not known of any row.
    """

    batch: int
    cond: tuple[int, ...]
    doubled: str = "cond"
    samples: Samples | None = None

    @classmethod
    def of(
        cls, labels: Sequence[str], batch: int, doubled: str = "cond", samples: Sequence[int | None] | None = None
    ) -> RowMap:
        """From labels of equal chunks of the batch, and each row's sample if the labels do not say it.

        Raises RowsError where the batch does not divide evenly, or has another number of rows than `samples`.
        """
        if batch % len(labels):
            raise RowsError(f"rows = {tuple(labels)!r} do not fit a batch of {batch} rows: {len(labels)} equal chunks")
        if samples is not None and len(samples) != batch:
            raise RowsError(f"samples = {tuple(samples)!r} do not fit a batch of {batch} rows: one number for each")
        chunk = batch // len(labels)
        cond = tuple(c * chunk + r for c, lab in enumerate(labels) if lab == "cond" for r in range(chunk))
        known = samples_of_chunks(labels, chunk) if samples is None else tuple(samples)
        return cls(batch, cond, doubled, known)

    @property
    def uncond(self) -> tuple[int, ...]:
        """Indices of the rows that are not cond."""
        return tuple(row for row in range(self.batch) if row not in self.cond)

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the rows that have a weak row, in the weak rows' order."""
        return self.cond if self.doubled == "cond" else self.uncond

    @property
    def is_mixed(self) -> bool:
        """Whether there are both cond and uncond rows."""
        return 0 < len(self.cond) < self.batch

    @property
    def is_paired(self) -> bool:
        """Whether it is known which rows belong together: each sample has cond rows and exactly one uncond row here."""
        if self.samples is None or not self.is_mixed or None in self.samples:
            return False
        uncond = [self.samples[row] for row in self.uncond]
        return len(set(uncond)) == len(uncond) and set(uncond) == {self.samples[row] for row in self.cond}

    @property
    def total(self) -> int:
        """Rows inside the UNet."""
        return self.batch + len(self.sources)

    def partners(self) -> list[int]:
        """For each cond row the uncond row of its sample. Raises RowsError where not `is_paired`."""
        if self.samples is None or not self.is_paired:
            raise RowsError(f"the rows {self!r} cannot be paired: it is not known which belong to one sample")
        found = {self.samples[row]: row for row in self.uncond}
        return [found[self.samples[row]] for row in self.cond]

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
        """`tree` with the weak rows of every tensor of `total` rows folded into the host's rows.

        Weak rows of cond replace their rows. Damped rows of uncond replace theirs and shift each cond row of the sample
        by as much, so that the host's CFG comes to ``damped + w · (cond − uncond)``.
        """
        return map_tensors(tree, self.total, self._fold if self.doubled == "cond" else self._fold_damped)

    def _fold(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.sources) == self.batch:
            return x[self.batch :]
        order = list(range(self.batch))
        for weak, row in enumerate(self.sources):
            order[row] = self.batch + weak
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
    return map_tensors_if(tree, lambda x: x.ndim > 0 and x.shape[0] == rows, change)


def map_tensors_if(
    tree: Any, wanted: Callable[[torch.Tensor], bool], change: Callable[[torch.Tensor], torch.Tensor]
) -> Any:
    """Apply `change` to every tensor that is `wanted` in nested dicts, lists, tuples and output records."""
    if isinstance(tree, torch.Tensor):
        return change(tree) if wanted(tree) else tree
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **{f.name: map_tensors_if(getattr(tree, f.name), wanted, change) for f in fields(tree)})
    if isinstance(tree, dict):
        return {k: map_tensors_if(v, wanted, change) for k, v in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors_if(v, wanted, change) for v in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors_if(v, wanted, change) for v in tree)
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
