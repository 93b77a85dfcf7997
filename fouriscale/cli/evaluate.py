"""`fouriscale evaluate`: how good pictures above the training size are, by each of several methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .. import model as bundled
from ..errors import SettingsError
from ..hosts.diffusers.pipeline import set_scheduler
from ..hosts.diffusers.sampling import load
from ..lab.evaluate.methods import ENLARGED, METHODS, OURS, PLAIN, SIZES, Method, parse_methods, parse_sizes
from ..lab.evaluate.report import rich_table
from ..lab.evaluate.run import evaluated, pictures, task_of
from ..lab.evaluate.store import Store
from ..lab.evaluate.work import BASE_SEEDS
from .batch import read_prompts
from .interrupt import finished_pictures_are_kept
from .options import DTYPES, MOST_PICTURES, MOST_STEPS, at_least, check_cfg, check_seeds, one_of

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
    at_least("samples", samples, 1, MOST_PICTURES)
    at_least("steps", steps, 1, MOST_STEPS)
    at_least("batch", batch, 1)
    one_of("dtype", dtype, DTYPES)
    check_seeds(seed, samples + BASE_SEEDS)
    check_cfg(cfg)
    wanted, compared = parse_sizes(sizes), parse_methods(methods)
    if report_only:
        _report(Store(out, None), wanted, compared)
        return
    prompts = read_prompts(prompt) if prompt else list(bundled.PROMPTS)
    pipe = load(model, DTYPES[dtype], device)
    task = task_of(pipe, prompts, seed, batch, steps, cfg, alpha)
    if not (prompt or task.alpha):
        raise SettingsError("prompt", prompt, "a prompt or a .txt file, as this model is not like the bundled one")
    set_scheduler(pipe, "ddim")
    name = "bundled" if Path(model).resolve() == Path(BUNDLED).resolve() else model
    store = Store(out, {"model": name, "dtype": dtype, **vars(task)})
    with finished_pictures_are_kept():
        pictures(pipe, task, store, wanted, compared, samples)
    _report(store, wanted, compared)


def _report(store: Store, sizes: list[str], methods: list[Method]) -> None:
    console = Console()
    console.print(rich_table(evaluated(store, sizes, methods)))
    console.print(f"{len(store.records)} pictures and {store.folder / 'table.md'}", soft_wrap=True, highlight=False)
