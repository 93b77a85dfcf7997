"""Training by the CPU's clock: the loop that both stages share, with check-points that a later run continues from."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

REPORT_EVERY, SAVE_EVERY = 50, 100


class Trainer(Protocol):
    """What the loop needs. seconds: CPU time of training so far, earlier runs included."""

    step_count: int
    seconds: float

    def step(self, rate: float) -> Any:
        """One optimiser step at a learning rate; returns its loss."""

    def state(self) -> dict[str, Any]:
        """Everything that a check-point holds."""

    def load(self, state: dict[str, Any]) -> None:
        """The reverse of `state`."""


def train_by_clock(
    trainer: Trainer, saved: Path, minutes: float, rate_at: Callable[[float, int], float], report: Callable[[list], str]
) -> None:
    """Continue from `saved`, if it exists, until `minutes` of the process's CPU time in all are over, and save.

    CPU time, as other work on the machine then changes neither what is learnt nor its rates.

    rate_at: learning rate by fraction of the time and step. report: a line about the losses since the last one.
    """
    if saved.exists():
        trainer.load(torch.load(saved, weights_only=True))
    start, before, losses = time.process_time(), trainer.seconds, []
    while trainer.seconds < 60 * minutes:
        losses.append(trainer.step(rate_at(trainer.seconds / (60 * minutes), trainer.step_count)))
        trainer.seconds = before + time.process_time() - start
        if trainer.step_count % REPORT_EVERY == 0:
            print(f"{trainer.seconds / 60:6.1f} min  step {trainer.step_count}  {report(losses)}", flush=True)
            losses = []
        if trainer.step_count % SAVE_EVERY == 0:
            save(trainer, saved)
    save(trainer, saved)


def save(trainer: Trainer, path: Path) -> None:
    """Write a check-point; a killed run leaves the earlier one whole."""
    partial = path.with_suffix(".partial")
    torch.save(trainer.state(), partial)
    partial.replace(path)
