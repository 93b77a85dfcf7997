"""`fouriscale evaluate`: how good pictures above the training size are, by each of several methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from ... import model as bundled
from ...cli import demo
from ...cli.generate import read_prompts
from ...cli.interrupt import finished_pictures_are_kept
from ...cli.options import DTYPES, MOST_PICTURES, MOST_STEPS, at_least, check_cfg, check_seeds, one_of
from ...errors import SettingsError
from ...hosts.diffusers.pipeline import set_scheduler
from ...hosts.diffusers.sampling import load
from ...unet.structure import describe
from .methods import ENLARGED, METHODS, OURS, PLAIN, REFERENCE, SIZES, Method, parse_methods, parse_sizes, pixels
from .report import rich_table, write_all
from .scores import Scores
from .store import Store
from .work import REFERENCE_SEEDS, Task, batches, runs, work

BUNDLED = str(bundled.folder())


def evaluate(
    samples: Annotated[int, typer.Option(help="Pictures per size and method; prompts take turns.")] = 96,
    sizes: Annotated[str, typer.Option(help="Comma-separated: " + ", ".join(SIZES) + "; or all.")] = "1x,2x,1:2",
    methods: Annotated[
        str, typer.Option(help="Comma-separated: " + ", ".join(METHODS) + ', NAME={"setting": value}; or all.')
    ] = f"{PLAIN},{ENLARGED},{OURS}",
    seed: Annotated[int, typer.Option(help="Picture n uses seed + n, in every method.")] = 1000,
    model: Annotated[str, typer.Option(help="Folder, .safetensors file or hub id.", show_default="bundled")] = BUNDLED,
    prompt: Annotated[
        str, typer.Option(help="A prompt, or a .txt file with one a line.", show_default="the bundled model's words")
    ] = "",
    steps: Annotated[int | None, typer.Option(help="Sampling steps.", show_default="25, or 50")] = None,
    cfg: Annotated[float | None, typer.Option(help="CFG scale.", show_default="4, or 7.5, or 5 for SDXL")] = None,
    batch: Annotated[int, typer.Option(help="Pictures in a batch.")] = 4,
    alpha: Annotated[
        bool | None,
        typer.Option(help="The fourth latent channel is opacity, so count objects.", show_default="as for the bundled"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps …")] = "cpu",
    dtype: Annotated[str, typer.Option(help=", ".join(DTYPES))] = "float32",
    out: Annotated[Path, typer.Option(help="Folder; a run that was broken off goes on.")] = Path("outputs/evaluate"),
    report_only: Annotated[bool, typer.Option("--report-only", help="Evaluate what the folder has.")] = False,
) -> None:
    """Make many pictures by several methods, with the same prompts and seeds, and measure them.

    Writes pictures, results.json, table.md, results.png and contact sheets. Stop it at any time: the same command goes
    on, and with --report-only it evaluates what is there.
    """
    for name, value, most in (
        ("samples", samples, MOST_PICTURES),
        ("steps", steps, MOST_STEPS),
        ("batch", batch, None),
    ):
        at_least(name, value, 1, most)
    one_of("dtype", dtype, DTYPES)
    check_seeds(seed, samples + REFERENCE_SEEDS)
    check_cfg(cfg)
    wanted, compared = parse_sizes(sizes), parse_methods(methods)
    if report_only:
        _report(Store(out, None), wanted, compared)
        return
    is_bundled = Path(model).resolve() == Path(BUNDLED).resolve()
    prompts = read_prompts(prompt) if prompt else list(bundled.PROMPTS)
    pipe = load(model, DTYPES[dtype], device)
    task = _task(pipe, prompts, seed, batch, steps, cfg, alpha)
    if not (prompt or task.alpha):
        raise SettingsError("prompt", prompt, "a prompt or a .txt file, as this model is not like the bundled one")
    set_scheduler(pipe, "ddim")
    name = "bundled" if is_bundled else model
    store = Store(out, {"model": name, "dtype": dtype, **vars(task)})
    pairs = runs(pipe, wanted, compared, task.base)
    for method in compared:
        store.check_definition(method.name, method.definition)
    store.start()
    _work(pipe, task, store, pairs, samples)
    _report(store, wanted, compared)


def _task(
    pipe: Any, prompts: list[str], seed: int, batch: int, steps: int | None, cfg: float | None, alpha: bool | None
) -> Task:
    # Only latents that are a scaled picture, as the bundled model's, need no scaling; published models all do.
    scaled = pipe.vae.config.scaling_factor == 1.0 and pipe.vae.config.latent_channels == 4
    like_bundled = scaled if alpha is None else alpha
    usual = 5.0 if describe(pipe.unet).family == "sdxl" else 7.5
    if like_bundled:
        steps, cfg = steps or demo.STEPS, demo.CFG if cfg is None else cfg
    base = 8 * int(pipe.unet.config.sample_size)
    return Task(prompts, seed, batch, base, steps or 50, usual if cfg is None else cfg, like_bundled)


def _work(pipe: Any, task: Task, store: Store, pairs: list[tuple[str, Method]], samples: int) -> None:
    todo = list(batches(store, pairs, samples, task.batch))

    def pixels_of(size: str) -> int:
        width, height = pixels(size, task.base)
        return width * height

    # Progress by area, so that the remaining time means something.
    with finished_pictures_are_kept(), Progress(transient=True) as bar:
        bars = bar.add_task("pictures", total=sum(len(b.indices) * pixels_of(b.size) for b in todo))
        for one in todo:
            bar.update(bars, description=f"sample {one.last} of {samples}, {one.size} {one.method.name}")
            work(pipe, task, store, one)
            bar.advance(bars, len(one.indices) * pixels_of(one.size))


def _report(store: Store, sizes: list[str], methods: list[Method]) -> None:
    names = [REFERENCE, *(m.name for m in methods)]
    results = [r for r in Scores(store).results(sizes, names) if r.method != REFERENCE]
    write_all(store, results, [m.name for m in methods])
    console = Console()
    console.print(rich_table(results))
    console.print(f"{len(store.records)} pictures and {store.folder / 'table.md'}", soft_wrap=True, highlight=False)
