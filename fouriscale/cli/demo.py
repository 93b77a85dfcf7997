"""`fouriscale demo`: the bundled model at its own size, at twice the size and at twice the height, plain and not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .. import model as bundled
from ..errors import SettingsError
from ..hosts.diffusers.pictures import save_png, sheet, slug
from ..hosts.diffusers.sampling import Request, Result, load, sample
from ..lab.measure.objects import count_objects
from ..settings.presets import AUTO, AUTO_SETTINGS
from .interrupt import finished_pictures_are_kept
from .options import check_seeds

PROMPTS = ("hamburger", "sunflower", "penguin", "strawberry")
SIZES = (("base", 1, 1), ("2×", 2, 2), ("1:2", 1, 2))


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("outputs/demo"),
    seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    prompts: Annotated[str, typer.Option(help="Comma-separated; the bundled model knows 48 words.")] = ",".join(
        PROMPTS
    ),
) -> None:
    """Make pictures with the bundled model, side by side with and without FouriScale."""
    words = list(dict.fromkeys(w.strip() for w in prompts.split(",") if w.strip()))
    if not words:
        raise SettingsError("prompts", prompts, "words, separated by commas")
    check_seeds(seed, len(words))
    requests = [
        Request(
            prompt=word, width=bundled.BASE * across, height=bundled.BASE * down, seed=seed + n, steps=bundled.STEPS,
            cfg=bundled.CFG, settings=settings, preset=AUTO, own=AUTO_SETTINGS,
        )
        for n, word in enumerate(words)
        for name, across, down in SIZES
        for settings in ((None,) if name == "base" else (None, AUTO_SETTINGS))
    ]  # fmt: skip
    pipe = load(bundled.folder())
    done: list[tuple[Request, Result]] = []
    with finished_pictures_are_kept(), Progress(transient=True) as bar:
        task = bar.add_task("pictures", total=len(requests) * bundled.STEPS)
        for request in requests:
            result = sample(pipe, request, lambda _step: bar.advance(task))
            save_png(result.image, out / f"{slug(request.prompt)}-{_label(request, '-')}.png", result.parameters)
            done.append((request, result))
    page = _comparison(words, done)
    page.save(out / "comparison.png")
    Console().print(_table(done))
    Console().print(f"{len(done)} pictures and {out / 'comparison.png'}", soft_wrap=True, highlight=False)


def _label(request: Request, gap: str = " ") -> str:
    method = "plain" if request.settings is None else "FouriScale"
    return f"{request.width}x{request.height}{gap}{method}"


def _comparison(words: list[str], done: list[tuple[Request, Result]]):  # type: ignore[no-untyped-def]
    rows = [
        [(f"{word}\n{_label(request)}", result.image) for request, result in done if request.prompt == word]
        for word in words
    ]
    return sheet(rows, "bundled model (trained at 256x256), same seed in a row", scale=0.5)


def _table(done: list[tuple[Request, Result]]) -> Table:
    table = Table("size", "method", "objects per picture", "seconds", "time over plain", box=None)
    groups: dict[tuple[int, int, bool], list[Result]] = {}
    for request, result in done:
        groups.setdefault((request.width, request.height, request.settings is not None), []).append(result)
    for (width, height, scaled), results in groups.items():
        counts = [count_objects(bundled.alpha(r.latents)[0].numpy()) for r in results]
        seconds = sum(r.seconds for r in results) / len(results)
        plain = groups[(width, height, False)]
        ratio = seconds / (sum(r.seconds for r in plain) / len(plain))
        table.add_row(
            f"{width}×{height}", "FouriScale" if scaled else "plain", " ".join(map(str, counts)), f"{seconds:.1f}",
            f"{ratio:.2f}" if scaled else "",
        )  # fmt: skip
    return table
