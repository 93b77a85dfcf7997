"""What the status route tells: each generation by itself, while it runs and when it is over."""

from __future__ import annotations

import itertools
import weakref
from typing import Any


class Job:
    """One generation. found: its plan and what was done so far; None until a pass of it was looked at."""

    def __init__(self, number: int):
        self.number = number
        self.found: dict[str, Any] | None = None

    def write(self, found: dict[str, Any]) -> None:
        """Put `found` in place of what is there."""
        self.found = {"job": self.number, **found}

    def skipped(self, reason: str) -> None:
        """Note why nothing is done, beside what is there."""
        self.write({**(self.found or {}), "active": False, "reason": reason})


class Report:
    """The generations that run and the one that ended last. A job that its owner forgot is forgotten here too."""

    def __init__(self) -> None:
        self.last: dict[str, Any] | None = None
        self._numbers = itertools.count(1)
        self._running: weakref.WeakValueDictionary[int, Job] = weakref.WeakValueDictionary()

    def start(self) -> Job:
        """A new generation, numbered in the order of beginning."""
        job = Job(next(self._numbers))
        self._running[job.number] = job
        return job

    def finish(self, job: Job) -> None:
        """The generation is over. Safe to call twice."""
        if self._running.pop(job.number, None) is not None:
            self.last = job.found

    def running(self) -> list[dict[str, Any]]:
        """The generations under way, in the order of beginning."""
        jobs = [job for job in (reference() for reference in self._running.valuerefs()) if job is not None]
        return [job.found or {"job": job.number} for job in sorted(jobs, key=lambda job: job.number)]
