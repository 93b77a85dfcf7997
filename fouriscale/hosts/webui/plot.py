"""A small picture of what the sliders mean: dilation over the run, and what the two filters let through."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...filters.lowpass import half_mask
from ...planning.plans import Plan

STEPS = 50
SAMPLES = 64  # of the padded axis that the gains are drawn for, as in a feature map of 64×64
INK, STRONG, WEAK = "#808080", "#e8710a", "#1f77b4"  # readable on light and on dark pages

Curve = tuple[float, ...]


def curves(plan: Plan) -> dict[str, Curve]:
    """What is drawn, as plain numbers: dilation by step of both rows, gains of both filters by frequency."""
    method = plan.method
    both = [pair for first, last, *pair in method.steps(STEPS) for _ in range(first, last + 1)]
    drawn = {"strong dilation": tuple(float(strong) for strong, _ in both)}
    if method.weak_label == "cond":
        drawn["weak dilation"] = tuple(float(weak) for _, weak in both)
    if method.stopbands is not None and plan.layers:
        scale, (strong, weak) = max(plan.dilation, 1.0), method.stopbands
        drawn["strong filter"] = tuple(half_mask("strong", SAMPLES, scale, strong))
        if method.weak_label == "cond":
            drawn["weak filter"] = tuple(half_mask("weak", SAMPLES, scale, weak))
    return drawn


def plot_html(plan: Plan) -> str:
    """An <img> element that holds the picture itself; empty where there is nothing to draw."""
    if not plan.active or not plan.layers:
        return ""
    svg = _svg(tuple(curves(plan).items()))
    alt = "Left: dilation over the steps. Right: gain of the filters over spatial frequency."
    return f'<img class="fouriscale-plot" alt="{alt}" src="data:image/svg+xml;base64,{svg}">'


@lru_cache(maxsize=32)
def _svg(drawn: tuple[tuple[str, Curve], ...]) -> str:
    lines = dict(drawn)
    figure = Figure(figsize=(6.4, 1.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, colour in (("strong", STRONG), ("weak", WEAK)):
        if f"{name} dilation" in lines:
            left.step(range(STEPS), lines[f"{name} dilation"], color=colour, where="post", label=name)
        if f"{name} filter" in lines:
            gains = lines[f"{name} filter"]
            right.plot(np.linspace(0.0, 1.0, len(gains)), gains, color=colour, label=name)
    left.set_title(f"dilation by step of {STEPS}", color=INK, fontsize=9)
    left.set_ylim(0.5, max(lines["strong dilation"]) + 0.5)
    right.set_title("gain by frequency, at the start", color=INK, fontsize=9)
    right.set_ylim(-0.05, 1.05)
    for axes in (left, right):
        _quiet(axes)
    left.legend(fontsize=8, frameon=False, labelcolor=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _quiet(axes: Any) -> None:
    axes.tick_params(colors=INK, labelsize=8)
    for name, side in axes.spines.items():
        side.set_visible(name in ("left", "bottom"))
        side.set_color(INK)
