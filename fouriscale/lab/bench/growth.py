"""Time and memory of one step of full strength, from the training size to sixteen times its area."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ...settings.settings import Settings
from .compare import PLAIN, waiter
from .layouts import make_inputs
from .memory import peak_bytes
from .modes import Subject
from .timing import Note, Spread, alternate, silent, step_kinds

SIDES = (1.0, 1.5, 2.0, 3.0, 4.0)


def grow(
    unet: Any,
    base: int,
    modes: Sequence[str],
    rounds: int,
    sides: Sequence[float] = SIDES,
    clock: Callable[[], float] = time.perf_counter,
    note: Note = silent,
) -> dict[str, Any]:
    """For squares of `sides` × `base` pixels: median seconds and peak bytes of a plain step and of every mode.

    base: training size in pixels that the UNet is taken to have, so that small pictures do. At 1× the method is off,
    and every mode is the plain step.
    """
    rows = []
    for times in sides:
        side = 8 * round(times * base / 8)
        inputs = make_inputs(unet, side, side)
        subject = Subject(unet, inputs, (side, side), Settings(base=(base, base)))
        actions: dict[str, Callable[[], object]] = {PLAIN: subject.plain}
        if side > base:
            actions |= {mode: subject.step(mode, step_kinds(subject.plan(mode))[0]) for mode in modes}
        peaks = {}
        for name, action in actions.items():
            peaks[name] = peak_bytes(action, inputs.sample.device)
            note(f"{side}×{side} {name}", float("nan"))
        measured = alternate(actions, rounds, waiter(inputs.sample.device), clock, note)
        seconds = {name: round(Spread.of(values).median, 4) for name, values in measured.items()}
        for mode in modes:
            seconds.setdefault(mode, seconds[PLAIN])
            peaks.setdefault(mode, peaks[PLAIN])
        rows.append({"side": side, "area": (side / base) ** 2, "seconds": seconds, "memory_bytes": peaks})
    return {"base": [base, base], "rounds": rounds, "sizes": rows}
