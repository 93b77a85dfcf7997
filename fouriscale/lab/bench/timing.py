"""The arithmetic of a comparison: which steps a run has, in which order they are timed, what the times add up to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ...planning.plans import Plan

STEPS = 50
Note = Callable[[str, float], None]  # name of a measurement, and its seconds; nan for a warm-up


def silent(name: str, seconds: float) -> None:
    """Takes no note."""


@dataclass(frozen=True)
class StepKind:
    """Steps of equal cost. strong, weak: whole-number dilations, 1 and 1 for plain. count: how many of the run.

    step: the one that is measured, in the middle. alike: its weak rows would be their rows, so there are none. In fast
    mode only, coarse: its convolutions run on a coarser grid; kept: it has what weak rows changed in the step before
    instead.
    """

    strong: int
    weak: int
    step: int
    count: int
    alike: bool = False
    coarse: bool = False
    kept: bool = False

    @property
    def name(self) -> str:
        """ "plain", or the dilations as "2/1", and what is special."""
        if self.strong == 1:
            return "plain"
        return f"{self.strong}/{self.weak}" + " alike" * self.alike + " coarse" * self.coarse + " kept" * self.kept


def step_kinds(plan: Plan, steps: int = STEPS, naive: bool = False) -> list[StepKind]:
    """The kinds of steps that a run of `steps` steps has, in order. naive: where only the dilations count."""
    groups: dict[tuple[int, int, bool, bool, bool], list[int]] = {}
    method = plan.method
    computed = method.weak_rows_by_step(steps)
    for first, last, strong, weak in method.steps(steps):
        for i in range(first, last + 1):
            dilation = method.dilation_at((i, steps))
            differ = method.has_weak_rows(dilation)
            alike = strong > 1 and method.weak_label is not None and not differ and not naive
            on_grid = dilation is not None and method.on_grid(dilation)
            groups.setdefault((strong, weak, alike, on_grid, differ and not computed[i]), []).append(i)
    return [
        StepKind(strong, weak, found[(len(found) - 1) // 2], len(found), alike, coarse, kept)
        for (strong, weak, alike, coarse, kept), found in groups.items()
    ]


def run_ratio(kinds: Sequence[StepKind], ratios: Mapping[str, float]) -> float:
    """Time of a whole run over a plain run, from the ratio of each kind of step (by its name)."""
    return sum(kind.count * ratios[kind.name] for kind in kinds) / sum(kind.count for kind in kinds)


@dataclass(frozen=True)
class Spread:
    """Median, least and largest of the rounds."""

    median: float
    least: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """From one value per round."""
        return cls(median(values), min(values), max(values))

    def to_dict(self) -> dict[str, float]:
        """For JSON, four decimals."""
        return {"median": round(self.median, 4), "min": round(self.least, 4), "max": round(self.largest, 4)}

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}–{self.largest:.2f})"


def timed(action: Callable[[], object], wait: Callable[[], None], clock: Callable[[], float]) -> float:
    """Seconds of one `action`. wait: returns when the device has finished."""
    wait()
    start = clock()
    action()
    wait()
    return clock() - start


def alternate(
    actions: Mapping[str, Callable[[], object]],
    rounds: int,
    wait: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
    note: Note = silent,
) -> dict[str, list[float]]:
    """Seconds of every action in every round. Every second round runs backwards, so that a drift evens out."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds):
        for name in reversed(list(actions)) if number % 2 else list(actions):
            times[name].append(timed(actions[name], wait, clock))
            note(name, times[name][-1])
    return times
