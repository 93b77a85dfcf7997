"""Many pictures: from a file of prompts, in batches, over processes and machines, resumed where they were stopped.

A picture's request and file follow from its prompt's line and its number alone, and each file holds the record of what
it was made from. So a finished picture needs no other book-keeping: it is there, whole, and says so itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from rich.progress import Progress, TaskID

from ..errors import SettingsError
from ..settings import Settings
from .pictures import RECORD, save_png, slug
from .sampling import Request, Result, decode, parameters, sample_latents

T = TypeVar("T")
# What changes how a picture is computed, but not the picture.
SAME_PICTURE = frozenset({"low_memory", "vae_tiles"})


@dataclass(frozen=True)
class Picture:
    """One picture of a run. record: everything that it is made from, in plain values."""

    request: Request
    path: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class Division:
    """How a run is divided. batch: pictures in one UNet call. resume: keep what is finished.

    shard: (i, n), this machine's part i of n, counted from 1.
    """

    batch: int = 1
    resume: bool = True
    shard: tuple[int, int] = (1, 1)


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

        state = PartialState(cpu=device == "cpu")
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
    """`device`, or this process's own of several CUDA devices where several processes were launched."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" and _launched() else device


def make_all(
    pipe: Any, request: Request, prompts: list[str], count: int, out: Path, division: Division | None = None
) -> None:
    """Make `count` pictures of each prompt in `out`, and print a line for each.

    request: with the seed of the first picture of each prompt. Raises SettingsError where `out` holds pictures of the
    same names with other settings, before any is made.
    """
    division = division or Division()
    part, parts = division.shard
    wanted = pictures(request, prompts, count, out, {"dtype": str(pipe.unet.dtype)})[part - 1 :: parts]
    team = Team.join(pipe.device.type)
    try:
        left = team.agree(lambda: unfinished(wanted, out) if division.resume else list(range(len(wanted))))
        batches = share(batched(left, division.batch), team.rank, team.size)
        with Progress(transient=True, disable=team.rank > 0) as bar:
            if team.rank == 0 and len(left) < len(wanted):
                found = f"{len(wanted) - len(left)} of {len(wanted)} pictures are there already"
                bar.console.print(found, soft_wrap=True, highlight=False)
            task = bar.add_task("pictures", total=sum(map(len, batches)) * request.steps)
            for batch in batches:
                _make([wanted[i] for i in batch], pipe, bar, partial(_advance, bar, task, len(batch)))
    finally:
        team.leave()


def _advance(bar: Progress, task: TaskID, pictures: int, _step: int) -> None:
    bar.advance(task, pictures)


def _make(batch: list[Picture], pipe: Any, bar: Progress, on_step: Callable[[int], None]) -> None:
    results = sample_batch(pipe, [picture.request for picture in batch], on_step)
    for picture, result in zip(batch, results, strict=True):
        save_png(result.image, picture.path, result.parameters, json.dumps(picture.record))
        bar.console.print(f"{picture.path}  {result.seconds:.1f} s", soft_wrap=True, highlight=False)


def sample_batch(pipe: Any, requests: Sequence[Request], on_step: Callable[[int], None] | None = None) -> list[Result]:
    """Pictures of requests that differ in prompt and seed only, in one batch; the same as one by one, but for rounding.

    A result's seconds are its share of the batch's.
    """
    first = requests[0]
    seeds, prompts = [r.seed for r in requests], [r.prompt for r in requests]
    latents, seconds, plan = sample_latents(pipe, first, seeds, on_step, prompts)
    return [
        Result(decode(pipe, one, request.vae_tiles)[0], one, seconds / len(requests), plan, parameters(request, plan))
        for request, one in zip(requests, latents.split(1), strict=True)
    ]


def pictures(request: Request, prompts: list[str], count: int, out: Path, more: dict[str, Any]) -> list[Picture]:
    """All pictures of a run, in order. Picture n of a prompt has the seed `request.seed` + n.

    more: plain values for the records beside the request's.
    """
    found = []
    for line, text in enumerate(prompts, 1):
        for n in range(count):
            one = dataclasses.replace(request, prompt=text, seed=request.seed + n)
            name = f"{line:05d}-{one.seed}-{slug(text)}.png"
            found.append(Picture(one, out / name, {**record(one), **more}))
    return found


def record(request: Request) -> dict[str, Any]:
    """`request` in plain values, without what has its default, as JSON gives them back."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name == "settings" or (value != field.default and field.name not in SAME_PICTURE):
            values[field.name] = value
    return json.loads(json.dumps(values, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return {k: v for k, v in value.non_defaults().items() if k not in SAME_PICTURE}
    if isinstance(value, Image.Image):
        return hashlib.sha256(value.mode.encode() + repr(value.size).encode() + value.tobytes()).hexdigest()
    if dataclasses.is_dataclass(value):
        # What cannot be told in plain values, such as a second pipeline, is told by its name beside it.
        return {f.name: v for f in dataclasses.fields(value) if not hasattr(v := getattr(value, f.name), "components")}
    return str(value)


def unfinished(wanted: Sequence[Picture], out: Path) -> list[int]:
    """Indices of the pictures that are not there yet. Raises SettingsError for one that is there with other settings.

    Removes what a killed process left of them.
    """
    try:
        there = set(os.listdir(out))
    except FileNotFoundError:
        there = set()
    left = []
    for index, picture in enumerate(wanted):
        if picture.path.name not in there:
            left.append(index)
            continue
        made_from = _read_record(picture.path)
        if made_from != picture.record:
            raise SettingsError("out", str(out), _changed(picture, made_from))
    names = {wanted[index].path.name for index in left}
    for name in there:
        if name.endswith(".partial") and name.removesuffix(".partial").rpartition(".")[0] in names:
            (out / name).unlink(missing_ok=True)
    return left


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        with Image.open(path) as image:  # reads no pixels
            found = json.loads(image.info.get(RECORD, ""))
    except (OSError, ValueError, SyntaxError):
        return None
    return found if isinstance(found, dict) else None


def _changed(picture: Picture, made_from: dict[str, Any] | None) -> str:
    """What to do about a picture that is there already, and what differs."""
    what = "it does not say from what it was made"
    if made_from is not None:
        old, new = _flat(made_from), _flat(picture.record)
        keys = [key for key in {**new, **old} if old.get(key) != new.get(key)]
        named = [f"{key} was {_told(old, key)}, now {_told(new, key)}" for key in keys[:4]]
        what = "; ".join(named + ["…"] * (len(keys) > 4))
    return (
        f"a folder without a {picture.path.name} made with other settings ({what}); choose another --out, or "
        "--no-resume to make its pictures anew"
    )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with those of its settings beside the rest."""
    settings = values.get("settings")
    method = {"method": "plain" if settings is None else "fouriscale"}
    return {**{k: v for k, v in values.items() if k != "settings"}, **method, **(settings or {})}


def _told(values: dict[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "default"


def batched(items: Sequence[int], size: int) -> list[list[int]]:
    """`items` in their order, in lists of `size`; the last may be shorter."""
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def share(batches: Sequence[T], rank: int, size: int) -> list[T]:
    """This process's batches: each batch is one process's, and their numbers differ by at most one."""
    return list(batches[rank::size])


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) from "i/n"; (1, 1) from "". Raises SettingsError."""
    if not text:
        return 1, 1
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()) or not 1 <= int(part) <= int(parts):
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
