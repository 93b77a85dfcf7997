"""The processes that accelerate or torchrun started together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch

from ..errors import SettingsError
from .errors import ProcessError

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=30)  # one process may have many more pictures to finish than another


@dataclass(frozen=True)
class Team:
    """The processes that accelerate or torchrun started together. rank: of this one, from 0. state: accelerate's."""

    rank: int = 0
    size: int = 1
    state: Any = None

    @classmethod
    def join(cls, device: str = "cpu") -> Team:
        """The team that the environment tells of; a team of one without it."""
        if not _launched():
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu", timeout=LONGEST_WAIT)
        return cls(state.process_index, state.num_processes, state)

    def agree(self, ask: Callable[[], T]) -> T:
        """What `ask` gives in the first process, for all of them. A SettingsError is raised there and ends the rest."""
        if self.size == 1:
            return ask()
        from accelerate.utils import broadcast_object_list

        answer: list[Any] = [None]
        error: Exception | None = None
        if self.rank == 0:
            try:
                answer = [(ask(),)]
            except (SettingsError, OSError) as raised:
                error = raised
        broadcast_object_list(answer)
        if error is not None:
            raise error
        if answer[0] is None:
            raise SystemExit(2)  # the first process says why
        return answer[0][0]

    def wait(self) -> None:
        """Until all are here. Launchers end the others when one fails, so who has failed waits before it says so."""
        if self.state is not None:
            self.state.wait_for_everyone()

    def leave(self) -> None:
        """Close the processes' connection."""
        if self.state is not None:
            self.state.destroy_process_group()


def _launched() -> bool:
    return _told_by_launcher("WORLD_SIZE", "1") != "1"


def is_first() -> bool:
    """Whether this is the first, or only, process of those that were launched together."""
    return not _launched() or _told_by_launcher("RANK", "0") == "0"


def _told_by_launcher(name: str, default: str) -> str:
    """A launcher's variable: torchrun's and accelerate's WORLD_SIZE and RANK, or what mpirun has for them."""
    tail = name.removeprefix("WORLD_")
    names = (name, f"PMI_{tail}", f"OMPI_COMM_WORLD_{tail}", f"MV2_COMM_WORLD_{tail}")
    return next((os.environ[n] for n in names if n in os.environ), default)


def own_device(device: str) -> str:
    """`device`, or this process's own of several CUDA devices where several processes were launched.

    Raises ProcessError for a process that has none.
    """
    if device != "cuda" or not _launched():
        return device
    rank, there = os.environ.get("LOCAL_RANK", "0"), torch.cuda.device_count()
    if rank.isdecimal() and int(rank) >= there > 0:
        raise ProcessError(
            f"process {rank} of this machine has no CUDA device; there are {there}, one for each process"
        )
    return f"cuda:{rank}"
