"""One comparison from beginning to end: memory, warm-up, times, and the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .memory import peak_bytes
from .modes import NAIVE, PARTS, Subject
from .timing import Note, Spread, StepKind, alternate, run_ratio, silent, step_kinds

PLAIN, AGAIN = "plain", "plain again"


def compare(
    subject: Subject,
    modes: Sequence[str],
    rounds: int,
    parts: bool = True,
    memory: bool = True,
    clock: Callable[[], float] = time.perf_counter,
    note: Note = silent,
) -> dict[str, Any]:
    """Time every kind of step of every mode against the plain step; plain values, ready for JSON.

    parts: also without filter, dilation and guidance, for the first kind of step. memory: also peak memory of that.
    note: told every finished measurement; nan seconds are a warm-up. Raises SettingsError as `Subject.plan` does.
    """
    device = subject.inputs.sample.device
    kinds = {mode: step_kinds(subject.plan(mode), naive=mode == NAIVE) for mode in modes}
    actions: dict[str, Callable[[], object]] = {PLAIN: subject.plain}
    for mode in modes:
        actions |= {f"{mode} {kind.name}": subject.step(mode, kind) for kind in kinds[mode]}
    if parts and "fouriscale" in modes:
        actions |= {f"without {part}": subject.without(part, kinds["fouriscale"][0]) for part in PARTS}
    actions[AGAIN] = subject.plain  # what everything is divided by is timed at both ends of a round
    heaviest = {PLAIN: PLAIN, **{mode: f"{mode} {kinds[mode][0].name}" for mode in modes}}
    peaks: dict[str, int] = {}
    for name, action in actions.items():
        owner = next((mode for mode, key in heaviest.items() if key == name), None)
        if memory and owner is not None:
            peaks[owner] = peak_bytes(action, device)
        else:
            action()
        note(name, float("nan"))
    times = alternate(actions, rounds, waiter(device), clock, note)
    times[PLAIN] = [(first + last) / 2 for first, last in zip(times[PLAIN], times.pop(AGAIN), strict=True)]
    report: dict[str, Any] = {
        "size": list(subject.size),
        "rounds": rounds,
        "plain_seconds": Spread.of(times[PLAIN]).to_dict(),
        "predicted": {mode: round(subject.plan(mode).cost, 4) for mode in modes if mode != NAIVE},
        **ratios(kinds, times),
        "memory_bytes": peaks,
        "memory_ratio": {mode: round(peak / peaks[PLAIN], 4) for mode, peak in peaks.items() if mode != PLAIN},
    }
    report["prediction_error"] = {
        mode: round(cost / report["run_ratio"][mode] - 1, 4) for mode, cost in report["predicted"].items()
    }
    if parts and "fouriscale" in modes:
        report["parts"] = part_shares(times, heaviest["fouriscale"])
    return report


def ratios(kinds: dict[str, list[StepKind]], times: dict[str, list[float]]) -> dict[str, Any]:
    """Ratios over the plain step of the same round: of every kind of step, and of a whole run."""
    steps: dict[str, list[dict[str, Any]]] = {}
    runs: dict[str, Spread] = {}
    for mode, own in kinds.items():
        rounds = [
            {kind.name: times[f"{mode} {kind.name}"][r] / plain for kind in own} for r, plain in enumerate(times[PLAIN])
        ]
        steps[mode] = [
            {"kind": kind.name, "count": kind.count, "ratio": Spread.of([r[kind.name] for r in rounds]).to_dict()}
            for kind in own
        ]
        runs[mode] = Spread.of([run_ratio(own, r) for r in rounds])
    return {
        "run_ratio": {mode: round(spread.median, 4) for mode, spread in runs.items()},
        "run_spread": {mode: spread.to_dict() for mode, spread in runs.items()},
        "step_ratio": steps,
    }


def part_shares(times: dict[str, list[float]], whole: str) -> dict[str, dict[str, float]]:
    """What each part adds to a step of full strength, in plain steps: the step with it minus the step without."""
    return {
        part: Spread.of(
            [(w - o) / p for w, o, p in zip(times[whole], times[f"without {part}"], times[PLAIN], strict=True)]
        ).to_dict()
        for part in PARTS
    }


def waiter(device: torch.device) -> Callable[[], None]:
    """Returns when `device` has finished what it was told."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}
