"""Peak memory of one action, in a pass of its own that is not timed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Allocation = tuple[int, int]  # time, bytes (negative where memory is given back)


def peak_bytes(action: Callable[[], object], device: torch.device) -> int:
    """How far the memory of tensors rises above what is held before. Weights are held before.

    CUDA: as its allocator counts. Elsewhere: every allocation that torch's profiler sees, the operators' own buffers
    included, save for what libraries below torch allocate by themselves.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        action()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    with _silence():
        profile.start()
    try:
        action()
    finally:
        with _silence():
            profile.stop()
    results: Any = profile.profiler.kineto_results  # type: ignore[union-attr]
    events = [event for event in results.events() if event.name() == "[memory]"]
    # torch before 2.4 counts in microseconds; only the order matters
    return highest((e.start_ns() if hasattr(e, "start_ns") else e.start_us(), e.nbytes()) for e in events)


def highest(allocations: Iterable[Allocation]) -> int:
    """The largest sum of bytes at any time, 0 at the least."""
    held = peak = 0
    for _, size in sorted(allocations, key=lambda one: one[0]):
        held += size
        peak = max(peak, held)
    return peak


@contextmanager
def _silence() -> Iterator[None]:
    """Newer profilers write to the process's standard error when they start and stop, past every setting."""
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # no standard error
        yield
        return
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
