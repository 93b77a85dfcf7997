"""Figures of a comparison and of its growth with size, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "plain": "#888888", "fouriscale": "#2a6fbb", "reference": "#d1603d", "low-memory": "#3c9d6b", "fast": "#9a6fb0",
}  # fmt: skip
MIB = 2**20


def plot_report(report: dict[str, Any], path: Path) -> None:
    """Bars of the steps' ratios, the whole runs' ratios and the peak memory."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), width_ratios=(2, 1, 1), layout="constrained")
    figure.suptitle(f"{report.get('unet', 'UNet')}, {report['size'][0]}×{report['size'][1]}, {_machine(report)}")
    _steps(axes[0], report["step_ratio"])
    runs = report["run_spread"]
    medians = [runs[mode]["median"] for mode in runs]
    errors = [[runs[m]["median"] - runs[m]["min"] for m in runs], [runs[m]["max"] - runs[m]["median"] for m in runs]]
    axes[1].bar(list(runs), medians, yerr=errors, color=[_colour(m) for m in runs], capsize=3)
    for mode, cost in report["predicted"].items():
        axes[1].plot(list(runs).index(mode), cost, "k_", markersize=24)
    axes[1].set_title("50 steps (line: predicted)")
    axes[1].axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    memory = report["memory_bytes"]
    axes[2].bar(list(memory), [b / MIB for b in memory.values()], color=[_colour(m) for m in memory])
    axes[2].set_title("peak memory of a step beside the weights, MiB")
    for axis in axes[1:]:
        axis.tick_params(axis="x", rotation=20)
    _save(figure, path)


def _steps(axis: Any, steps: dict[str, list[dict[str, Any]]]) -> None:
    names = list(dict.fromkeys(step["kind"] for own in steps.values() for step in own))
    width = 0.8 / max(len(steps), 1)
    for m, (mode, own) in enumerate(steps.items()):
        places = [names.index(step["kind"]) + (m - (len(steps) - 1) / 2) * width for step in own]
        axis.bar(places, [s["ratio"]["median"] for s in own], width, label=mode, color=_colour(mode))
    axis.set_xticks(range(len(names)), names)
    axis.set_xlabel("dilation of strong/weak rows")
    axis.set_title("one step over a plain one")
    axis.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    axis.legend()


def plot_growth(report: dict[str, Any], path: Path) -> None:
    """Lines of time and memory of a step of full strength against the picture's area."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    figure.suptitle(f"{report['unet']}, base {report['base'][0]}×{report['base'][1]}, {_machine(report)}")
    areas = [row["area"] for row in report["sizes"]]
    for mode in report["sizes"][0]["seconds"]:
        axes[0].plot(areas, [r["seconds"][mode] for r in report["sizes"]], "o-", label=mode, color=_colour(mode))
        values = [r["memory_bytes"][mode] / MIB for r in report["sizes"]]
        axes[1].plot(areas, values, "o-", label=mode, color=_colour(mode))
    for axis, title in zip(axes, ("seconds of one step", "peak memory of a step beside the weights, MiB"), strict=True):
        axis.set(title=title, xlabel="area over the base's", xscale="log", xticks=areas)
        axis.set_xticks([], minor=True)
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
        axis.set_xticklabels([f"{a:g}" for a in areas])
        axis.grid(alpha=0.3)
        axis.legend()
    _save(figure, path)


def _colour(mode: str) -> str:
    return COLOURS.get(mode, "#555555")


def _machine(report: dict[str, Any]) -> str:
    return f"{report['machine']['device']}, {report['dtype']}" if "machine" in report else ""


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
