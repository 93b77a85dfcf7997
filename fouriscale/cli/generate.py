"""`fouriscale generate`: pictures from a prompt or a file of prompts, by any Stable Diffusion 1.5, 2.1 or XL model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from .. import model as bundled
from ..errors import SettingsError
from ..hosts.diffusers.addons import add_embedding, add_loras, check_refinable, load_refiner, with_controlnet
from ..hosts.diffusers.pipeline import SCHEDULERS, set_scheduler
from ..hosts.diffusers.sampling import METHODS, TILES, Refiner, Request, load, quiet
from ..planning.plans import Plan
from ..settings import presets as preset_files
from ..settings.presets import Preset
from . import options
from .batch import Division, make_all, parse_shard, read_prompts
from .choice import Choice
from .identity import Identity, identify
from .options import (
    DTYPES,
    MOST_PICTURES,
    MOST_STEPS,
    Addons,
    at_least,
    check_cfg,
    check_seeds,
    in_range,
    one_of,
)
from .settings_options import given, with_settings
from .team import is_first, own_device


@with_settings
def generate(
    prompt: options.Prompt,
    width: options.Width = None,
    height: options.Width = None,
    model: options.Model = "",
    preset: options.Preset = preset_files.AUTO,
    config: options.Config = None,
    method: options.Method = "fouriscale",
    negative: options.Negative = "",
    seed: options.Seed = 0,
    count: options.Count = None,
    steps: options.Steps = None,
    cfg: options.Cfg = None,
    scheduler: options.Scheduler = None,
    eta: options.Eta = None,
    vae_tiles: options.VaeTiles = "auto",
    lora: options.Lora = [],  # noqa: B006 - typer copies it
    embedding: options.Embedding = [],  # noqa: B006
    controlnet: options.ControlNet = "",
    control_image: options.ControlImage = None,
    control_scale: options.ControlScale = 1.0,
    refiner: options.Refiner = "",
    refiner_at: options.RefinerAt = 0.8,
    single_file_config: options.ModelConfig = "",
    device: options.Device = options.DEVICE,
    dtype: options.Dtype = "float32",
    out: options.Out = Path("outputs"),
    batch_size: options.BatchSize = None,
    resume: options.Resume = True,
    shard: options.Shard = "",
    **chosen: Any,
) -> None:
    """Make pictures. Each PNG carries its settings in the form that WebUIs read."""
    for name, value, known in (("method", method, METHODS), ("dtype", dtype, DTYPES), ("vae_tiles", vae_tiles, TILES)):
        one_of(name, value, known)
    at_least("count", count, 1, MOST_PICTURES)
    at_least("steps", steps, 1, MOST_STEPS)
    at_least("batch_size", batch_size, 1, MOST_PICTURES)
    choice = Choice.of(method, preset, config, (width, height), given(chosen))
    count = count or choice.config.count
    check_seeds(seed, count)
    sampled = {"scheduler": scheduler, "eta": eta, "steps": steps or choice.config.steps or None, "cfg": cfg}
    check_run(run_of(choice.preset, sampled))
    division = Division(batch_size or choice.config.batch, resume, parse_shard(shard))
    prompts = read_prompts(prompt)
    added = options.addons(lora, embedding, controlnet, control_image, control_scale, refiner, refiner_at)
    pipe, second = load_all(model, added, DTYPES[dtype], own_device(device), single_file_config)
    plan = choice.plan(pipe.unet)
    run = run_of(choice.preset or preset_files.choose(plan.family, *plan.size), sampled, plan.family)
    set_scheduler(pipe, run["scheduler"])
    make_folder(out)
    print_plan(plan, method)
    request = Request(
        prompt="", width=plan.size[0], height=plan.size[1], seed=seed, negative=negative, **run,
        settings=None if method == "plain" else plan.settings, preset=choice.name, own=choice.own,
        model=Path(model).name if model else "bundled", control=added.control, refiner=second,
        loras=tuple((path.stem, weight) for path, weight in added.loras), vae_tiles=vae_tiles,
        embeddings=tuple(token for _, token in added.embeddings),
    )  # fmt: skip
    make_all(pipe, request, prompts, count, out, division, lambda: identity_of(model, added, single_file_config))


def make_folder(out: Path) -> None:
    """Make the folder for the pictures. Raises SettingsError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError("out", str(out), f"a folder that can be made ({error.strerror})") from None


def identity_of(model: str, added: Addons, config: str) -> Identity:
    """What is loaded, by its content. Raises OSError."""
    return Identity(
        identify(model or bundled.folder()), identify(added.refiner), identify(added.controlnet),
        tuple(identify(path) for path, _ in added.loras), tuple(identify(path) for path, _ in added.embeddings),
        identify(config),
    )  # fmt: skip


def load_all(model: str, added: Addons, dtype: Any, device: str, config: str) -> tuple[Any, Refiner | None]:
    """The pipeline with all that is added to it, and the refiner. Raises ModelError and SettingsError."""
    pipe = load(model or bundled.folder(), dtype, device, config)
    second = None
    if added.refiner:
        check_refinable(pipe, added.refiner)
        quiet(added.refiner)
        second = Refiner(load_refiner(added.refiner, dtype, device, config), added.refiner_at, Path(added.refiner).name)
    add_loras(pipe, added.loras)
    for path, token in added.embeddings:
        add_embedding(pipe, path, token)
    return with_controlnet(pipe, added.controlnet) if added.controlnet else pipe, second


def run_of(preset: Preset | None, sampled: Mapping[str, Any], family: str = "sd15") -> dict[str, Any]:
    """How to sample: as was given, else as the preset says, else as usual for the family."""
    usual = {"scheduler": "ddim", "eta": 1.0, "steps": 50, "cfg": 5.0 if family == "sdxl" else 7.5}
    run = {**usual, **(preset.run if preset else {}), **{k: v for k, v in sampled.items() if v is not None}}
    return {**run, "eta": float(run["eta"]), "cfg": float(run["cfg"])}


def check_run(run: Mapping[str, Any]) -> None:
    """Raise SettingsError for what cannot be sampled with, be it from a preset's file."""
    one_of("scheduler", run["scheduler"], SCHEDULERS)
    in_range("eta", run["eta"], 0.0, 1.0)
    at_least("steps", run["steps"], 1, MOST_STEPS)
    check_cfg(run["cfg"])


def print_plan(plan: Plan, method: str) -> None:
    """The first line of the plan, by one of several processes."""
    if is_first():
        typer.echo(plan.lines()[0] if method != "plain" else f"plain, {plan.size[0]}×{plan.size[1]}")
