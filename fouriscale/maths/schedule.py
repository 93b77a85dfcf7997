"""How strong the method is at each moment of the trajectory (paper, section 3.4: annealing)."""

from __future__ import annotations

import math

Progress = float | tuple[int, int]

LAST_TIMESTEP = 999


def progress_of_timestep(timestep: float) -> float:
    """Fraction of the trajectory behind us, from the UNet's own timestep 999 … 0. Independent of sampler and pass."""
    return min(max(1.0 - float(timestep) / LAST_TIMESTEP, 0.0), 1.0)


def dilation_at(initial: float, progress: Progress, start: float, stop: float) -> float:
    """Fractional dilation at `progress`: `initial` before start, then linear to 1 at stop, 1 from there on.

    progress: a fraction in [0, 1], or the pair (i, n): step i of n, for which start and stop are rounded to whole steps
        first, as the authors' runs count them. The operations' order is part of the definition: float64, so that
        ``ceil`` of the result falls on the same step everywhere.
    """
    position: float
    if isinstance(progress, tuple):
        position, steps = progress
        start, stop = round(start * steps), round(stop * steps)
    else:
        position = progress
    if position >= stop:
        return 1.0
    if position < start:
        return float(initial)
    return max((initial - 1.0) * ((stop - position) / (stop - start)) + 1.0, 1.0)


def share_left(progress: Progress, stop: float) -> float:
    """What is left of a strength that falls linearly from 1 at the beginning to 0 at `stop`; `progress` as above."""
    position, steps = progress if isinstance(progress, tuple) else (progress, 1)
    end = round(stop * steps) if isinstance(progress, tuple) else stop
    return max((end - position) / end, 0.0) if end > 0 else 0.0


def strong_dilation(dilation: float) -> int:
    """Integer dilation of uncond and cond-strong rows, and of all rows of SD 1.5 and 2.1."""
    return math.ceil(dilation)


def weak_dilation(dilation: float, divisor: float) -> int:
    """Integer dilation of cond-weak rows; `divisor` is 1 for SD 1.5 and 2.1 and 1.5 for SDXL."""
    return math.ceil(max(dilation / divisor, 1.0))


def is_before(progress: Progress, fraction: float) -> bool:
    """Whether `progress` is before `fraction` of the trajectory, which for a pair (i, n) is rounded to a whole step."""
    if isinstance(progress, tuple):
        return progress[0] < round(fraction * progress[1])
    return progress < fraction


def position(progress: Progress) -> float:
    """`progress` as a fraction of the trajectory."""
    return progress[0] / progress[1] if isinstance(progress, tuple) else progress
