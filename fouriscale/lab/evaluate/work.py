"""The order of work, and doing it: sample blocks outside, so that an early end leaves complete pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import model as bundled
from ...hosts.diffusers.pictures import save_png, slug
from ...hosts.diffusers.sampling import decode
from ...planning import planner as planning
from .draw import Job, draw
from .methods import BASE_PICTURES, BASE_SIZE, PLAIN, Method, pixels
from .scores import picture_features, picture_metrics
from .store import Record, Store
from .true import knows

BASE_SEEDS = 1_000_000  # the base pictures share no seed with what they are compared with


@dataclass(frozen=True)
class Task:
    """What all pictures of a run have in common. alpha: whether the latents' fourth channel is opacity."""

    prompts: list[str]
    seed: int
    batch: int
    base: int
    steps: int
    cfg: float
    alpha: bool

    @property
    def known(self) -> bool:
        """Whether the true drawing of every prompt is known."""
        return self.alpha and knows(self.prompts)


@dataclass(frozen=True)
class Batch:
    """Samples `first` … `last` − 1 of a method at a size."""

    method: Method
    size: str
    first: int
    last: int

    @property
    def indices(self) -> range:
        """The samples' numbers."""
        return range(self.first, self.last)


def runs(pipe: Any, sizes: list[str], methods: list[Method], base: int) -> list[tuple[str, Method]]:
    """(size, method) pairs, without those that a plan leaves plain. Raises what planning raises."""
    found = [(BASE_SIZE, Method(BASE_PICTURES, None))]
    for size in sizes:
        for method in methods:
            settings = method.settings
            hires_at_base = method.hires is not None and size == BASE_SIZE
            idle = settings is not None and not planning.plan(pipe.unet, *pixels(size, base), settings).active
            if method.name == PLAIN or not (hires_at_base or idle):
                found.append((size, method))
    return found


def batches(store: Store, pairs: list[tuple[str, Method]], samples: int, batch: int) -> Iterator[Batch]:
    """What is still to be done, in order. A batch of which some pictures are missing is done again as a whole."""
    for first in range(0, samples, batch):
        for size, method in pairs:
            one = Batch(method, size, first, min(first + batch, samples))
            if any((method.name, size, i) not in store.records for i in one.indices):
                yield one


def work(pipe: Any, task: Task, store: Store, batch: Batch) -> None:
    """Make one batch and store it: first every file, then the lines that say so."""
    width, height = pixels(batch.size, task.base)
    offset = task.seed + (BASE_SEEDS if batch.method.name == BASE_PICTURES else 0)
    prompts = [task.prompts[i % len(task.prompts)] for i in batch.indices]
    job = Job(prompts, [offset + i for i in batch.indices], width, height, task.base, task.steps, task.cfg)
    drawn = draw(pipe, job, batch.method)
    latents, pictures = drawn.latents, drawn.pictures or decode(pipe, drawn.latents)
    alphas = bundled.alpha(latents).cpu().numpy() if task.alpha else [None] * len(job.seeds)
    records = []
    for n, index in enumerate(batch.indices):
        picture = np.asarray(pictures[n].convert("RGB")) / 255.0
        latent = latents[n].float().cpu().numpy()
        place = f"pictures/{batch.size.replace(':', '-')}/{batch.method.name}"
        file = f"{place}/{index:05d}-{slug(prompts[n])}"
        metrics = picture_metrics(picture, latent, alphas[n], task.base, prompts[n] if task.known else None)
        store.save_arrays(file, {"latents": latent, **picture_features(picture, index, task.base, task.known)})
        save_png(pictures[n], store.folder / f"{file}.png", f"{prompts[n]}\nSeed: {job.seeds[n]}, {batch.method.name}")
        share = round(drawn.seconds / len(job.seeds), 4)
        who = (batch.method.name, batch.size, index, prompts[n], job.seeds[n])
        records.append(Record(*who, width, height, share, file, batch.method.definition, metrics))
    store.add(records)
