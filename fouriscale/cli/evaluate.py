"""`fouriscale evaluate`: how often the bundled model draws exactly one object, plain and with FouriScale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .. import bundled
from ..errors import SettingsError
from ..measure.objects import count_objects, share_of_ones
from ..settings import Settings
from .demo import CFG, STEPS
from .generate import at_least
from .sampling import Request, load, sample_latents

SIZES = {"1x": (1, 1), "2x": (2, 2), "1:2": (1, 2), "2:1": (2, 1), "4x": (4, 4)}
BATCH = 4
BUNDLED = bundled.folder()


def evaluate(
    samples: Annotated[int, typer.Option(help="Pictures per size and method, over the bundled model's prompts.")] = 96,
    sizes: Annotated[str, typer.Option(help="Comma-separated: " + ", ".join(SIZES))] = "1x,2x,1:2",
    seed: Annotated[int, typer.Option(help="First seed; plain and FouriScale share seeds.")] = 1000,
    model: Annotated[Path, typer.Option(help="The bundled model or one trained like it.")] = BUNDLED,
    out: Annotated[Path, typer.Option(help="Folder for counts.json.")] = Path("outputs/evaluate"),
) -> None:
    """Count objects in many pictures of the bundled model; a table and counts.json."""
    at_least("samples", samples, 1)
    wanted = [s.strip() for s in sizes.split(",")]
    for size in wanted:
        if size not in SIZES:
            raise SettingsError("sizes", size, "one of " + ", ".join(SIZES))
    pipe = load(model)
    runs = [(s, m) for s in wanted for m in ("plain", "fouriscale") if (s, m) != ("1x", "fouriscale")]
    counts: dict[str, list[int]] = {}
    with Progress(transient=True) as bar:
        task = bar.add_task("pictures", total=len(runs) * samples)
        for size, method in runs:
            counts[f"{size} {method}"] = _counts(pipe, size, method, samples, seed, lambda n: bar.advance(task, n))
    out.mkdir(parents=True, exist_ok=True)
    (out / "counts.json").write_text(json.dumps(counts, indent=1))
    Console().print(_table(counts))


def _counts(pipe: Any, size: str, method: str, samples: int, seed: int, advance: Any) -> list[int]:
    across, down = SIZES[size]
    counts: list[int] = []
    for first in range(0, samples, BATCH):
        # A batch shares its prompt; prompts rotate so that every method sees the same ones with the same seeds.
        word = bundled.PROMPTS[(first // BATCH) % len(bundled.PROMPTS)]
        seeds = list(range(seed + first, seed + min(first + BATCH, samples)))
        request = Request(
            prompt=word, width=bundled.BASE * across, height=bundled.BASE * down, seed=seeds[0], steps=STEPS, cfg=CFG,
            settings=Settings() if method == "fouriscale" else None,
        )  # fmt: skip
        latents, _, _ = sample_latents(pipe, request, seeds)
        counts += [count_objects(a.numpy()) for a in bundled.alpha(latents)]
        advance(len(seeds))
    return counts


def _table(counts: dict[str, list[int]]) -> Table:
    table = Table("size, method", "exactly one object", "95 % interval", "mean objects", "pictures", box=None)
    rng = np.random.default_rng(0)
    for name, values in counts.items():
        array = np.array(values)
        draws = rng.choice(array, (2000, len(array)))
        low, high = np.quantile((draws == 1).mean(1), [0.025, 0.975])
        table.add_row(
            name, f"{share_of_ones(array):.2f}", f"{low:.2f}–{high:.2f}", f"{array.mean():.2f}", str(len(array))
        )
    return table
