"""What is shown and written of the results: a table, results.json, table.md, a figure and contact sheets."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from PIL import Image
from rich.table import Table

from ...hosts.diffusers.files import write_whole
from ...hosts.diffusers.pictures import sheet
from ..measure.bootstrap import Estimate
from .methods import OURS
from .scores import Result
from .store import Store

# name in results.json -> (heading, what it says); in the order of the tables
METRICS = {
    "distance_64": ("distance", "of the object from the true drawing, root mean square of 64×64 pixels; 0 is the same"),
    "distance_224": ("at 224 px", "the same at 224×224 pixels, that is with its detail"),
    "distance_16": ("at 16 px", "the same at 16×16 pixels, that is its layout"),
    "distance_32": ("at 32 px", "the same at 32×32 pixels"),
    "distance_128": ("at 128 px", "the same at 128×128 pixels"),
    "recognised": (
        "recognised",
        "share that a network, taught on the true drawings, takes for what was asked",
    ),
    "probability": ("probability", "that the network gives to what was asked, on average"),
    "one_object": ("one object", "share of pictures with exactly one object"),
    "objects": ("objects", "mean number of objects"),
    "exists": ("any object", "share of pictures with at least one object"),
    "repetition": ("repetition", "highest autocorrelation peak beyond 0.3 of the side"),
    "tiles": ("tile likeness", "mean correlation between tiles of the base size"),
    "frechet": ("Fréchet", "distance to pictures of the base size, scaled down"),
    "kernel": ("kernel", "the same with a polynomial kernel"),
    "patch_frechet": (
        "patch Fréchet",
        "of full-size patches to the true drawings', or, where unknown, to base-size pictures'",
    ),
    "slope": ("spectral slope", "0 white noise, −2 1/f; lower is smoother"),
    "laplacian": ("Laplacian var.", "of the luma in [0, 1]"),
    "phases": ("phases", "disagreement of the latent's polyphase components, relative to its std"),
    "seconds": ("seconds", "a picture, sampling only"),
    "time_ratio": ("time over plain", "at the same size"),
}
SHORT = {
    "distance_64": "distance", "distance_224": "at 224 px", "recognised": "recognised", "one_object": "one object",
    "repetition": "repeats", "frechet": "Fréchet", "patch_frechet": "patches", "seconds": "seconds",
    "time_ratio": "× plain",
}  # fmt: skip
SHEET_ROWS, SHEET_SIDE = 4, 256


def rich_table(results: list[Result]) -> Table:
    """The most telling values; everything is in results.json."""
    shown = _present(results, tuple(SHORT))
    table = Table("size", "method", *(SHORT[m] for m in shown), "n", box=None)
    for column in table.columns[:2]:
        column.no_wrap = True
    for r in results:
        table.add_row(r.size, r.method, *(_number(r.values.get(m)) for m in shown), str(r.n))
    return table


def write_all(store: Store, results: list[Result], methods: list[str]) -> None:
    """results.json, table.md, results.png and a contact sheet per size, into the store's folder. Raises OSError."""
    out = store.folder
    values: dict[str, Any] = {"run": store.run, "metrics": {k: v[1] for k, v in METRICS.items()}, "sizes": {}}
    for r in results:
        values["sizes"].setdefault(r.size, {})[r.method] = r.to_dict()
    text = json.dumps(values, indent=1, ensure_ascii=False)
    write_whole(out / "results.json", lambda f: f.write(text.encode()))
    write_whole(out / "table.md", lambda f: f.write(markdown(results).encode()))
    if results:
        _figure(results, methods, out / "results.png")
    for size in values["sizes"]:
        _sheet(store, size, list(values["sizes"][size]), out / f"sheet-{size.replace(':', '-')}.png")


def markdown(results: list[Result]) -> str:
    """Two tables per size: values, and differences to FouriScale with * where 0 is outside the 95 % interval."""
    parts = []
    for size in dict.fromkeys(r.size for r in results):
        here = [r for r in results if r.size == size]
        parts.append(f"### {size}\n\n" + _markdown_table(here, "values"))
        compared = [r for r in here if r.differences]
        if compared:
            parts.append(
                f"Difference to {OURS}, same prompts and seeds:\n\n" + _markdown_table(compared, "differences")
            )
    legend = "\n".join(f"- {heading}: {meaning}" for heading, meaning in METRICS.values())
    return "\n\n".join([*parts, "In brackets: 95 % bootstrap intervals. *: 0 is outside.", legend]) + "\n"


def _markdown_table(results: list[Result], kind: str) -> str:
    shown = _present(results, tuple(METRICS), kind)
    lines = [
        "| method | " + " | ".join(METRICS[m][0] for m in shown) + " | pictures |",
        "|---" * (len(shown) + 2) + "|",
    ]
    for r in results:
        cells = [_cell(getattr(r, kind).get(m), kind == "differences") for m in shown]
        lines.append(f"| {r.method} | " + " | ".join(cells) + f" | {r.n} |")
    return "\n".join(lines)


def _present(results: list[Result], names: tuple[str, ...], kind: str = "values") -> list[str]:
    return [m for m in names if any(m in getattr(r, kind) for r in results)]


def _number(estimate: Estimate | None, sign: str = "") -> str:
    return "" if estimate is None or math.isnan(estimate.value) else _digits(estimate.value, sign)


def _digits(value: float, sign: str = "") -> str:
    if value and abs(value) < 0.01:
        return f"{value:{sign}.1e}"
    return f"{value:{sign}.2f}" if abs(value) < 100 else f"{value:{sign}.0f}"


def _cell(estimate: Estimate | None, difference: bool) -> str:
    text = _number(estimate, "+" if difference else "")
    if estimate is None or not text or math.isnan(estimate.low):
        return text
    mark = " *" if difference and not estimate.low <= 0 <= estimate.high else ""
    return f"{text} ({_digits(estimate.low)} to {_digits(estimate.high)}){mark}"


def _figure(results: list[Result], methods: list[str], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(r.size for r in results))
    shown = _present(results, tuple(m for m in METRICS if m not in ("objects", "exists", "kernel")))
    figure = Figure((2 + 2.2 * len(shown), 1 + (0.3 + 0.25 * len(methods)) * len(sizes)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(sizes), len(shown), sharex="col", sharey=True, squeeze=False)
    for row, size in zip(axes, sizes, strict=True):
        for axis, metric in zip(row, shown, strict=True):
            for r in (r for r in results if r.size == size and metric in r.values):
                value, low, high = r.values[metric]
                y, colour = len(methods) - methods.index(r.method), "C1" if r.method == OURS else "C0"
                axis.plot([low, high], [y, y], color=colour, linewidth=2, alpha=0.5)
                axis.plot([value], [y], "o", color=colour, markersize=4)
            axis.set_yticks(range(len(methods), 0, -1), methods, fontsize=7)
            axis.tick_params(axis="x", labelsize=7)
            axis.grid(alpha=0.3)
        row[0].set_ylabel(size)
    for axis, metric in zip(axes[0], shown, strict=True):
        axis.set_title(METRICS[metric][0], fontsize=9)
    write_whole(path, lambda f: figure.savefig(f, format="png", dpi=110, metadata={"Software": None}))


def _sheet(store: Store, size: str, methods: list[str], path: Path) -> None:
    groups = {m: store.group(m, size) for m in methods}
    indices = sorted(set.intersection(*(set(g) for g in groups.values())))[:SHEET_ROWS]
    rows = []
    for index in indices:
        row = []
        for method, group in groups.items():
            with Image.open(store.folder / (group[index].file + ".png")) as image:
                row.append((f"{group[index].prompt[:30]}\n{method}", image.convert("RGB")))
        rows.append(row)
    if rows:
        largest = max(image.height for row in rows for _, image in row)
        page = sheet(rows, f"{size}, same prompt and seed in a row", min(1.0, SHEET_SIDE / largest))
        write_whole(path, lambda f: page.save(f, format="PNG"))
