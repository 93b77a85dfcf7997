"""Draws the pictures of docs/controls.md from the engine itself: schedule, filters, layer sets, rows.

    python -m tools.doc_figures [FOLDER]

The same SVG files every time; FOLDER is docs/images unless named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.patches
import numpy as np
from matplotlib.figure import Figure

from fouriscale import Plan, Settings, plan_family
from fouriscale.hosts.webui.plot import STEPS, STRONG, WEAK, curves
from fouriscale.settings.settings import LAYER_SETS
from fouriscale.unet.structure import blueprint_structure

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
GREY, INK = "#d5d5d5", "#404040"
FAMILIES = {"sd15": "SD 1.5", "sdxl": "SDXL"}
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "fouriscale", "font.size": 9, "axes.titlesize": 9, "text.color": INK,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip


def layer_rows(family: str) -> dict[str, list[bool]]:
    """For each layer set, which of the UNet's 3×3 convolutions are hooked, in order of execution."""
    structure = blueprint_structure(family)
    return {name: [conv in structure.select(name, family) for conv in structure.convs] for name in LAYER_SETS}


def steps_rows(plan: Plan) -> list[list[list[str]]]:
    """For each of 50 steps its UNet calls, each a list of rows: "uncond", "cond", "weak"."""
    steps = []
    for computed in plan.method.weak_rows_by_step(STEPS):
        label = plan.method.weak_label if computed else None
        if label is None:
            steps.append([["uncond", "cond"]])
        elif plan.settings.low_memory:
            rest = "uncond" if label == "cond" else "cond"
            steps.append([[label, "weak"], [rest]])
        else:
            steps.append([["uncond", "cond", "weak"]])
    return steps


def window() -> Figure:
    """Dilation by step: what start and stop do."""
    cases = (
        ("SD 1.5, 1024×1024: start 0.2, stop 0.6", plan_family("sd15", 1024, 1024)),
        ("SDXL, 4096×4096: start 0.4, stop 0.7", plan_family("sdxl", 4096, 4096)),
        ("SD 1.5, 2048×2048: start 0, stop 1", plan_family("sd15", 2048, 2048, Settings(start=0.0, stop=1.0))),
    )
    figure = Figure(figsize=(8.4, 2.1), layout="constrained")
    for axes, (title, plan) in zip(figure.subplots(1, len(cases), sharey=True), cases, strict=True):
        drawn = curves(plan)
        axes.step(range(STEPS), drawn["strong dilation"], where="post", color=STRONG, label="strong rows", lw=2)
        axes.step(range(STEPS), drawn["weak dilation"], where="post", color=WEAK, label="weak rows", ls="--")
        exact = [plan.dilation_at((i, STEPS)) for i in range(STEPS)]
        axes.plot(range(STEPS), exact, color=INK, lw=0.8, ls=":", label="before rounding up")
        axes.set(title=title, xlabel=f"step of {STEPS}", ylim=(0.8, 4.2), yticks=range(1, 5))
    figure.axes[0].set_ylabel("dilation")
    figure.axes[0].legend(fontsize=8)
    return figure


def filters() -> Figure:
    """Gain by frequency: scale and stop-band."""
    cases = (
        ("dilation 2, stop-band 0 (SD)", plan_family("sd15", 1024, 1024)),
        ("dilation 4, stop-band 0 (SD)", plan_family("sd15", 2048, 2048)),
        ("dilation 2, stop-band 0.6 (SDXL)", plan_family("sdxl", 2048, 2048)),
    )
    figure = Figure(figsize=(8.4, 2.1), layout="constrained")
    for axes, (title, plan) in zip(figure.subplots(1, len(cases), sharey=True), cases, strict=True):
        drawn = curves(plan)
        for name, colour, style in (("strong", STRONG, "-"), ("weak", WEAK, "--")):
            gains = drawn[f"{name} filter"]
            axes.plot(np.linspace(0.0, 1.0, len(gains)), gains, color=colour, ls=style, label=f"{name} filter")
        axes.set(title=title, xlabel="frequency (1: highest)", ylim=(-0.05, 1.05))
    figure.axes[0].set_ylabel("gain")
    figure.axes[2].legend(fontsize=8, loc="lower left")
    return figure


def layers() -> Figure:
    """Which convolutions a layer set hooks."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    for axes, (family, name) in zip(figure.subplots(len(FAMILIES), 1), FAMILIES.items(), strict=True):
        rows = layer_rows(family)
        for y, hooked in enumerate(rows.values()):
            for colour, wanted in ((STRONG, True), (GREY, False)):
                cells = [(x, 0.8) for x, on in enumerate(hooked) if on is wanted]
                axes.broken_barh(cells, (y + 0.1, 0.8), color=colour, lw=0)
        names = [conv.name for conv in blueprint_structure(family).convs]
        counts = [f"{key} ({sum(hooked)})" for key, hooked in rows.items()]
        axes.set(xlim=(-0.2, len(names)), ylim=(len(rows), 0), title=f"{name}: 3×3 convolutions, in order of execution")
        axes.set_yticks([y + 0.5 for y in range(len(rows))], counts)
        axes.set_xticks(*_blocks(names), fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _blocks(names: list[str]) -> tuple[list[float], list[str]]:
    """Middle and label of each block's run of convolutions."""
    members: dict[str, list[int]] = {}
    for x, name in enumerate(names):
        block, _, rest = name.partition(".")
        label = "mid" if block == "mid_block" else f"{block.split('_')[0]} {rest.split('.')[0]}"
        members.setdefault(label, []).append(x)
    return [(found[0] + found[-1] + 0.8) / 2 for found in members.values()], list(members)


def rows() -> Figure:
    """Rows of each step: guidance on, in low memory, off."""
    cases = (
        ("Guidance on", Settings()),
        ("Guidance on, low memory", Settings(low_memory=True)),
        ("Guidance on, fast", Settings(fast=True)),
        ("Guidance off", Settings(guidance=False)),
    )
    colours = {"uncond": "#9a9a9a", "cond": STRONG, "weak": WEAK}
    figure = Figure(figsize=(10.2, 1.9), layout="constrained")
    for axes, (title, settings) in zip(figure.subplots(1, len(cases), sharey=True), cases, strict=True):
        steps = steps_rows(plan_family("sd15", 1024, 1024, settings))
        for calls, run in groupby(range(STEPS), key=steps.__getitem__):
            span, y = list(run), 0.0
            for call in calls:
                for row in call:
                    axes.broken_barh([(span[0], len(span))], (y, 0.9), color=colours[row], lw=0)
                    y += 1.0
                y += 0.4  # between UNet calls
            if len(calls) > 1 and steps[span[-1] + 1 :].count(calls) == 0:
                axes.text(span[-1] + 2, y - 0.95, "a call of its own", va="center", fontsize=8)
        axes.set(title=title, xlabel=f"step of {STEPS}", xlim=(-0.5, STEPS), ylim=(0, 3.6), yticks=[])
        axes.spines["left"].set_visible(False)
    handles = [matplotlib.patches.Patch(color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside right center", fontsize=8)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {"steps": window, "filters": filters, "layers": layers, "rows": rows}


def write(folder: Path) -> list[Path]:
    """Write all figures as controls-NAME.svg; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    style: dict[str, Any] = STYLE
    with matplotlib.rc_context(style):
        for name, draw in FIGURES.items():
            made.append(folder / f"controls-{name}.svg")
            draw().savefig(made[-1], format="svg", facecolor="white", metadata={"Date": None})
    return made


if __name__ == "__main__":
    for path in write(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT):
        print(path)
