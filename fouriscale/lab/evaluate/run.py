"""An evaluation from beginning to end: what all its pictures have in common, making them, and the report."""

from __future__ import annotations

from typing import Any

from rich.progress import Progress

from ... import model as bundled
from ...unet.structure import describe
from .methods import BASE_PICTURES, Method, pixels
from .report import write_all
from .scores import Result, Scores
from .store import Store
from .work import Task, batches, runs, work


def task_of(
    pipe: Any, prompts: list[str], seed: int, batch: int, steps: int | None, cfg: float | None, alpha: bool | None
) -> Task:
    """What all pictures have in common; None where it is as usual for the model."""
    # Only latents that are a scaled picture, as the bundled model's, need no scaling; published models all do.
    scaled = pipe.vae.config.scaling_factor == 1.0 and pipe.vae.config.latent_channels == 4
    like_bundled = scaled if alpha is None else alpha
    usual = 5.0 if describe(pipe.unet).family == "sdxl" else 7.5
    if like_bundled:
        steps, cfg = steps or bundled.STEPS, bundled.CFG if cfg is None else cfg
    base = 8 * int(pipe.unet.config.sample_size)
    return Task(prompts, seed, batch, base, steps or 50, usual if cfg is None else cfg, like_bundled)


def pictures(pipe: Any, task: Task, store: Store, sizes: list[str], methods: list[Method], samples: int) -> None:
    """Make what `store` lacks of `samples` pictures by each method at each size, under a bar of progress.

    Raises SettingsError where the store holds pictures by another method of one of the names, and what planning raises;
    before any picture is made.
    """
    pairs = runs(pipe, sizes, methods, task.base)
    for method in methods:
        store.check_definition(method.name, method.definition)
    store.start()
    todo = list(batches(store, pairs, samples, task.batch))

    def pixels_of(size: str) -> int:
        width, height = pixels(size, task.base)
        return width * height

    # Progress by area, so that the remaining time means something.
    with Progress(transient=True) as bar:
        bars = bar.add_task("pictures", total=sum(len(b.indices) * pixels_of(b.size) for b in todo))
        for one in todo:
            bar.update(bars, description=f"sample {one.last} of {samples}, {one.size} {one.method.name}")
            work(pipe, task, store, one)
            bar.advance(bars, len(one.indices) * pixels_of(one.size))


def evaluated(store: Store, sizes: list[str], methods: list[Method]) -> list[Result]:
    """The results of what is stored, which are also written into the store's folder. Raises OSError."""
    names = [BASE_PICTURES, *(m.name for m in methods)]
    results = [r for r in Scores(store).results(sizes, names) if r.method != BASE_PICTURES]
    write_all(store, results, [m.name for m in methods])
    return results
