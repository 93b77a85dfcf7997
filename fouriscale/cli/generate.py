"""`fouriscale generate`: pictures from a prompt or a file of prompts, by any Stable Diffusion 1.5, 2.1 or XL model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import Progress

from .. import bundled, planning
from .. import presets as preset_files
from ..errors import SettingsError
from ..hosts.diffusers import SCHEDULERS, set_scheduler
from ..maths import sizes
from ..settings import Settings
from .pictures import save_png, slug
from .sampling import METHODS, Request, load, sample

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def generate(
    prompt: Annotated[str, typer.Option(help="The prompt, or a .txt file with one prompt a line.")],
    width: Annotated[int, typer.Option(help="Pixels, a multiple of 8.")] = 512,
    height: Annotated[int, typer.Option(help="Pixels, a multiple of 8.")] = 512,
    model: Annotated[str, typer.Option(help="Folder, .safetensors file or hub id.", show_default="bundled")] = "",
    preset: Annotated[str, typer.Option(help="A name from `fouriscale presets`, or Auto.")] = preset_files.AUTO,
    method: Annotated[str, typer.Option(help=" or ".join(METHODS))] = "fouriscale",
    negative: Annotated[str, typer.Option(help="Negative prompt.")] = "",
    seed: Annotated[int, typer.Option(help="Picture n of a prompt uses seed + n.")] = 0,
    count: Annotated[int, typer.Option(help="Pictures per prompt.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.", show_default="the preset's, else 50")] = None,
    cfg: Annotated[float | None, typer.Option(help="CFG scale.", show_default="the preset's, else 7.5 or 5")] = None,
    scheduler: Annotated[str, typer.Option(help=", ".join(SCHEDULERS))] = "ddim",
    eta: Annotated[float, typer.Option(help="Noise of DDIM steps, 0 to 1.")] = 1.0,
    start: Annotated[float | None, typer.Option(help="Full strength until this fraction of the run.")] = None,
    stop: Annotated[float | None, typer.Option(help="Plain from this fraction on.")] = None,
    base: Annotated[str, typer.Option(help="Training size as WIDTHxHEIGHT.", show_default="the model's own")] = "",
    layers: Annotated[str | None, typer.Option(help="published, down+mid, mid, or layer names.")] = None,
    guidance: Annotated[bool | None, typer.Option(help="The weak estimate of cond.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps …")] = "cuda" if torch.cuda.is_available() else "cpu",
    dtype: Annotated[str, typer.Option(help=", ".join(DTYPES))] = "float32",
    out: Annotated[Path, typer.Option(help="Folder for the PNG files.")] = Path("outputs"),
) -> None:
    """Make pictures. Each PNG carries its settings in the form that WebUIs read."""
    sizes.check_picture_size(width, height)
    choices = (("method", method, METHODS), ("dtype", dtype, DTYPES), ("scheduler", scheduler, SCHEDULERS))
    for name, value, known in choices:
        if value not in known:
            raise SettingsError(name, value, "one of " + ", ".join(known))
    at_least("count", count, 1)
    at_least("steps", steps, 1)
    if not 0.0 <= eta <= 1.0:
        raise SettingsError("eta", eta, "a number from 0 to 1")
    prompts = read_prompts(prompt)
    chosen = preset_files.find(preset)
    changes = {"start": start, "stop": stop, "base": parse_base(base), "layers": layers, "guidance": guidance}
    changes = {k: v for k, v in changes.items() if v is not None}
    settings = (chosen.settings if chosen else Settings()).replace(**changes)
    pipe = load(model or bundled.folder(), DTYPES[dtype], device)
    set_scheduler(pipe, scheduler)
    plan = planning.plan(pipe.unet, width, height, settings)
    if chosen is None:
        auto = preset_files.choose(plan.family, width, height)
        run = auto.run if auto else {}
    else:
        if chosen.family != plan.family:
            raise SettingsError("preset", preset, f"one for {plan.family}, which this model is, or Auto")
        run = chosen.run
    typer.echo(str(plan).splitlines()[0] if method == "fouriscale" else f"plain, {width}×{height}")
    if cfg is None:
        cfg = float(run.get("cfg", 5.0 if plan.family == "sdxl" else 7.5))
    out.mkdir(parents=True, exist_ok=True)
    request = Request(
        prompt="", width=width, height=height, seed=seed, settings=settings if method == "fouriscale" else None,
        negative=negative, steps=steps or int(run.get("steps", 50)), cfg=cfg, eta=eta,
        scheduler=scheduler, preset=preset, model=Path(model).name if model else "bundled",
    )  # fmt: skip
    _make_all(pipe, request, prompts, count, out)


def _make_all(pipe: Any, request: Request, prompts: list[str], count: int, out: Path) -> None:
    with Progress(transient=True) as bar:
        task = bar.add_task("pictures", total=len(prompts) * count * request.steps)
        for line, text in enumerate(prompts):
            for n in range(count):
                one = dataclasses.replace(request, prompt=text, seed=request.seed + n)
                result = sample(pipe, one, lambda _step: bar.advance(task))
                path = out / f"{line + 1:05d}-{one.seed}-{slug(text)}.png"
                save_png(result.image, path, result.parameters)
                bar.console.print(f"{path}  {result.seconds:.1f} s", soft_wrap=True, highlight=False)


def read_prompts(prompt: str) -> list[str]:
    """The prompt itself, or the non-empty lines of a .txt file. Raises SettingsError for a missing or empty file."""
    if not prompt.lower().endswith(".txt"):
        if not prompt.strip():
            raise SettingsError("prompt", prompt, "some words, or a .txt file")
        return [prompt]
    path = Path(prompt)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("prompt", prompt, f"a readable UTF-8 text file ({error})") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise SettingsError("prompt", prompt, "a file with at least one line")
    return prompts


def parse_base(text: str) -> tuple[int, int] | None:
    """(width, height) from "WIDTHxHEIGHT"; None from "". Raises SettingsError."""
    if not text:
        return None
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) != 2 or not all(s.strip().isdecimal() for s in sides):
        raise SettingsError("base", text, "WIDTHxHEIGHT in pixels, such as 512x512")
    return int(sides[0]), int(sides[1])


def at_least(name: str, value: int | None, least: int) -> None:
    """Raise SettingsError for a `value` below `least`."""
    if value is not None and value < least:
        raise SettingsError(name, value, f"a whole number from {least}")
