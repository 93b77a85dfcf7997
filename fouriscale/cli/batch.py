"""Many pictures: from a file of prompts, in batches, over processes and machines, resumed where they were stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID

from ..errors import NotFiniteError, SettingsError
from ..hosts.diffusers.pictures import save_png
from ..hosts.diffusers.sampling import Request, Result, decode, parameters, sample_latents, why_not_finite
from .identity import Identity
from .interrupt import finished_pictures_are_kept
from .listing import Picture, Pictures, identified
from .resume import unfinished
from .team import Team


@dataclass(frozen=True)
class Division:
    """How a run is divided. batch: pictures in one UNet call. resume: keep what is finished.

    shard: (i, n), this machine's part i of n, counted from 1.
    """

    batch: int = 1
    resume: bool = True
    shard: tuple[int, int] = (1, 1)


def make_all(
    pipe: Any,
    request: Request,
    prompts: list[str],
    count: int,
    out: Path,
    division: Division | None = None,
    identify: Callable[[], Identity] | None = None,
) -> None:
    """Make `count` pictures of each prompt in `out`, and print a line for each.

    request: with the seed of the first picture of each prompt. identify: gives what the models are, for the records;
    asked in one process only. Raises SettingsError where `out` holds pictures of the same names with other settings,
    before any is made, and at the end NotFiniteError for pictures that came to nothing, which are not written.
    """
    division = division or Division()
    part, parts = division.shard
    team = Team.join(pipe.device.type)
    try:
        more = {"dtype": str(pipe.unet.dtype)}
        if identify is not None:
            more |= team.agree(lambda: identified(request, identify()))
        wanted = Pictures.of(request, prompts, count, out, more).part(part - 1, parts)
        with Progress(transient=True, disable=team.rank > 0) as bar:
            tell = partial(bar.console.print, soft_wrap=True, highlight=False, markup=False)
            ask = partial(unfinished, wanted, out, tell)
            left = team.agree(ask) if division.resume else range(len(wanted))
            with finished_pictures_are_kept():
                failed = _work(pipe, wanted, Batches(left, division.batch, team.rank, team.size), bar)
        team.wait()
        if failed:
            raise _came_to_nothing(pipe, failed)
    finally:
        team.leave()


def _work(pipe: Any, wanted: Pictures, batches: Batches, bar: Progress) -> list[tuple[Picture, NotFiniteError]]:
    """Make the batches; pictures that came to nothing are returned. Where none of the first batch is any good, that is
    all, since the fault is then not one picture's.
    """
    failed: list[tuple[Picture, NotFiniteError]] = []
    task = bar.add_task("pictures", total=batches.pictures * wanted.request.steps)
    for batch in batches:
        failed += _make([wanted[i] for i in batch], pipe, bar, partial(_advance, bar, task, len(batch)))
        if len(failed) == len(batch) and batch == batches.first:
            break
    return failed


def _advance(bar: Progress, task: TaskID, pictures: int, _step: int) -> None:
    bar.advance(task, pictures)


def _make(
    batch: list[Picture], pipe: Any, bar: Progress, on_step: Callable[[int], None]
) -> list[tuple[Picture, NotFiniteError]]:
    failed = []
    results = sample_batch(pipe, [picture.request for picture in batch], on_step)
    for picture, result in zip(batch, results, strict=True):
        if isinstance(result, NotFiniteError):
            failed.append((picture, result))
            continue
        save_png(result.image, picture.path, result.parameters, json.dumps(picture.record))
        line = f"{picture.path}  {result.seconds:.1f} s"
        bar.console.print(line, soft_wrap=True, highlight=False, markup=False)
    return failed


def _came_to_nothing(pipe: Any, failed: list[tuple[Picture, NotFiniteError]]) -> NotFiniteError:
    (picture, error), more = failed[0], len(failed) - 1
    others = f" (nor were {more} more)" if more else ""
    return NotFiniteError(f"{picture.path} was not written{others}: {error}{why_not_finite(pipe)}")


def sample_batch(
    pipe: Any, requests: Sequence[Request], on_step: Callable[[int], None] | None = None
) -> list[Result | NotFiniteError]:
    """Pictures of requests that differ in prompt and seed only, in one batch; the same as one by one, but for rounding.

    A result's seconds are its share of the batch's. One that came to nothing is the error that says so.
    """
    first = requests[0]
    seeds, prompts = [r.seed for r in requests], [r.prompt for r in requests]
    latents, seconds, plan = sample_latents(pipe, first, seeds, on_step, prompts)
    results: list[Result | NotFiniteError] = []
    for request, one in zip(requests, latents.split(1), strict=True):
        try:
            image = decode(pipe, one, request.vae_tiles)[0]
        except NotFiniteError as error:
            results.append(error)
        else:
            results.append(Result(image, one, seconds / len(requests), plan, parameters(request, plan)))
    return results


@dataclass(frozen=True)
class Batches:
    """`items` in their order, in batches of `size`; of these one process's: each batch is one's, and the processes'
    numbers of batches differ by at most one.
    """

    items: Sequence[int]
    size: int
    rank: int = 0
    processes: int = 1

    def __iter__(self) -> Iterator[Sequence[int]]:
        for start in self._starts:
            yield self.items[start : start + self.size]

    @property
    def _starts(self) -> range:
        return range(self.rank * self.size, len(self.items), self.processes * self.size)

    @property
    def first(self) -> Sequence[int]:
        """The first batch."""
        return next(iter(self), ())

    @property
    def pictures(self) -> int:
        """How many items all batches have."""
        starts = self._starts
        return max(len(starts) - 1, 0) * self.size + (min(self.size, len(self.items) - starts[-1]) if starts else 0)


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) from "i/n"; (1, 1) from "". Raises SettingsError."""
    if not text:
        return 1, 1
    part, _, parts = text.partition("/")
    whole = all(side.isdecimal() and len(side) < 10 for side in (part, parts))
    if not whole or not 1 <= int(part) <= int(parts):
        raise SettingsError("shard", text, "I/N with I from 1 to N, such as 1/4 for the first of four")
    return int(part), int(parts)


def read_prompts(prompt: str) -> list[str]:
    """The prompt itself, or the non-empty lines of a .txt file. Raises SettingsError for a missing or empty file."""
    if not prompt.lower().endswith(".txt"):
        if not prompt.strip():
            raise SettingsError("prompt", prompt, "some words, or a .txt file")
        return [prompt]
    path = Path(prompt)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("prompt", prompt, f"a readable UTF-8 text file ({error})") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise SettingsError("prompt", prompt, "a file with at least one line")
    return prompts
