"""`fouriscale bench`: time and memory of FouriScale beside the plain UNet, on UNets of real shape."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from ..errors import SettingsError
from ..hosts.diffusers.pipeline import check_device
from ..maths.sizes import check_picture_size
from ..settings.settings import Settings
from .generate import DTYPES, at_least

MIB = 2**20
SMALL_BASE = 256
TOLERANCE = 0.15  # how far the plan's estimate of a run's time may be from what is measured


def bench(
    unet: Annotated[str, typer.Option(help="sd15, sdxl, or with few channels sd15-slim, sdxl-slim.")] = "sd15-slim",
    width: Annotated[int, typer.Option(help="Pixels, a multiple of 8.")] = 1024,
    height: Annotated[int, typer.Option(help="Pixels, a multiple of 8.")] = 1024,
    rounds: Annotated[int, typer.Option(help="How often everything is timed.")] = 3,
    modes: Annotated[
        str, typer.Option(help="Of fouriscale, reference, low-memory, fast, scalecrafter, attn-entropy.")
    ] = "fouriscale,reference",
    parts: Annotated[bool, typer.Option(help="Also time without filter, dilation and guidance.")] = True,
    memory: Annotated[bool, typer.Option(help="Also measure peak memory, in a pass of its own.")] = True,
    growth: Annotated[bool, typer.Option("--grow", help="One step against size, from 1 to 16 times the area.")] = False,
    base: Annotated[
        int | None,
        typer.Option(help="Training size to assume, in pixels.", show_default="the UNet's own; 256 with --grow"),
    ] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Count the process's CPU time, for a machine that is busy otherwise.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps …")] = "cuda" if torch.cuda.is_available() else "cpu",
    dtype: Annotated[str, typer.Option(help=", ".join(DTYPES))] = "float32",
    json_file: Annotated[Path, typer.Option("--json", help="Where the figures go.")] = Path("outputs/bench.json"),
    plot: Annotated[Path | None, typer.Option(help="PNG file.", show_default="beside the JSON")] = None,
) -> None:
    """Time plain steps, FouriScale and a naive implementation in turn; random weights, so nothing to download."""
    from ..lab.bench import compare, layouts
    from ..lab.bench import modes as known
    from ..lab.bench.growth import grow

    wanted = list(dict.fromkeys(mode.strip() for mode in modes.split(",") if mode.strip()))
    _check(unet, layouts.LAYOUTS, wanted, known.MODES, dtype)
    check_picture_size(width, height)
    check_device(device)
    at_least("rounds", rounds, 1)
    if base is not None and (base % 64 or not 64 <= base <= 2048):
        raise SettingsError("base", base, "a multiple of 64 from 64 to 2048")
    clock = time.process_time if cpu_time else time.perf_counter
    console = Console()
    with console.status("building the UNet") as status:
        built = layouts.build_unet(unet, device, DTYPES[dtype])

        def note(name: str, seconds: float) -> None:
            status.update(f"{name}: " + ("warm-up" if seconds != seconds else f"{seconds:.2f} s"))

        if growth:
            report = grow(built, base or SMALL_BASE, wanted, rounds, clock=clock, note=note)
        else:
            inputs = layouts.make_inputs(built, width, height)
            subject = known.Subject(built, inputs, (width, height), Settings(base=(base, base) if base else None))
            report = compare.compare(subject, wanted, rounds, parts, memory, clock, note)
    machine = compare.machine(built.device) | {"clock": "cpu" if cpu_time else "wall"}
    report = {"unet": unet, "dtype": dtype, "machine": machine, **report}
    _show(report, json_file, plot or json_file.with_suffix(".png"), console)


def _show(report: dict[str, Any], json_file: Path, picture: Path, console: Console) -> None:
    """Write the JSON and the figure, print the tables."""
    from ..lab.bench import plot as figures

    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(report, indent=1))
    growth = "sizes" in report
    (figures.plot_growth if growth else figures.plot_report)(report, picture)
    for table in [_growth_table(report)] if growth else _tables(report):
        console.print(table)
    for mode, error in ({} if growth else report["prediction_error"]).items():
        if abs(error) > TOLERANCE:
            console.print(
                f"The estimate for {mode} is off by {error:+.0%}: more than {TOLERANCE:.0%}.", highlight=False
            )
    console.print(f"{json_file} and {picture}", soft_wrap=True, highlight=False)


def _check(unet: str, layouts: Any, modes: list[str], known: Any, dtype: str) -> None:
    choices = [("unet", unet, layouts), ("dtype", dtype, DTYPES), *(("modes", mode, known) for mode in modes)]
    for name, value, allowed in choices:
        if value not in allowed:
            raise SettingsError(name, value, "one of " + ", ".join(allowed))
    if not modes:
        raise SettingsError("modes", "", "some of " + ", ".join(known))


def _spread(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} ({values['min']:.2f}–{values['max']:.2f})"


def _tables(report: dict[str, Any]) -> list[Table]:
    title = f"{report['unet']} {report['size'][0]}×{report['size'][1]}, median (least–largest)"
    steps = Table("step", "of 50", "time over plain", title=title, box=None)
    steps.add_row("plain", "", f"{report['plain_seconds']['median']:.2f} s")
    for mode, own in report["step_ratio"].items():
        for step in own:
            steps.add_row(f"{mode} {step['kind']}", str(step["count"]), _spread(step["ratio"]))
    runs = Table("run of 50 steps", "time over plain", "predicted", "peak memory, MiB", "over plain", box=None)
    peaks, over = report["memory_bytes"], report["memory_ratio"]
    runs.add_row("plain", "1", "", *([f"{peaks['plain'] / MIB:.0f}"] if peaks else []))
    for mode, spread in report["run_spread"].items():
        memory = [f"{peaks[mode] / MIB:.0f}", f"{over[mode]:.2f}"] if mode in peaks else []
        predicted = report["predicted"].get(mode)
        runs.add_row(mode, _spread(spread), "" if predicted is None else f"{predicted:.2f}", *memory)
    if "parts" not in report:
        return [steps, runs]
    shares = Table("part of a step of full strength", "costs, in plain steps", box=None)
    for part, spread in report["parts"].items():
        shares.add_row("extra rows" if part == "guidance" else part, _spread(spread))
    return [steps, runs, shares]


def _growth_table(report: dict[str, Any]) -> Table:
    modes = list(report["sizes"][0]["seconds"])
    table = Table("size", "area", *(f"{mode}: s, MiB" for mode in modes), title=f"{report['unet']}, one step", box=None)
    for row in report["sizes"]:
        cells = [f"{row['seconds'][m]:.2f}, {row['memory_bytes'][m] / MIB:.0f}" for m in modes]
        table.add_row(f"{row['side']}×{row['side']}", f"{row['area']:g}", *cells)
    return table
