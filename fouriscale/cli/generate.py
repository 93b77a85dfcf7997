"""`fouriscale generate`: pictures from a prompt or a file of prompts, by any Stable Diffusion 1.5, 2.1 or XL model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from .. import model as bundled
from ..errors import SettingsError
from ..hosts.diffusers.addons import add_embedding, add_loras, check_refinable, load_refiner, with_controlnet
from ..hosts.diffusers.pipeline import SCHEDULERS, set_scheduler
from ..hosts.diffusers.sampling import METHODS, TILES, Refiner, Request, load, quiet
from ..lab import published_config
from ..lab.published_config import ReferenceConfig
from ..maths import sizes
from ..methods import method_class
from ..planning import planner as planning
from ..planning.plans import Plan
from ..settings import presets as preset_files
from ..settings.presets import Preset
from ..settings.settings import Settings
from ..unet.structure import describe
from . import options
from .batch import Division, make_all, parse_shard, read_prompts
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
from .settings_options import given as given_options
from .settings_options import with_settings
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
    named = preset_files.find(preset)
    given = given_by(config, named, width, height)
    check_words(method, dtype, vae_tiles)
    check_counts(count, steps, batch_size)
    count = count or given.count
    check_seeds(seed, count)
    sampled = {"scheduler": scheduler, "eta": eta, "steps": steps or given.steps or None, "cfg": cfg}
    check_run(run_of(named, sampled))
    division = Division(batch_size or given.batch, resume, parse_shard(shard))
    prompts = read_prompts(prompt)
    changes = changes_of(chosen, method)
    own = named.settings if named else preset_files.AUTO_SETTINGS
    own.replace(**changes)  # refuses what is wrong before a model is loaded
    added = options.addons(lora, embedding, controlnet, control_image, control_scale, refiner, refiner_at)
    pipe, second = load_all(model, added, DTYPES[dtype], own_device(device), single_file_config)
    settings = settings_for(pipe.unet, method, given, own, changes)
    plan = planned(pipe.unet, given.size, settings, named)
    run = sampling(pipe, plan, named, sampled)
    make_folder(out)
    print_plan(plan, method)
    request = Request(
        prompt="", width=plan.size[0], height=plan.size[1], seed=seed, settings=None if method == "plain" else settings,
        negative=negative, **run, preset=None if given.file else named.name if named else preset_files.AUTO,
        refiner=second, vae_tiles=vae_tiles, own=None if given.file else own, **names_of(model, added),
    )  # fmt: skip
    make_all(pipe, request, prompts, count, out, division, lambda: identity_of(model, added, single_file_config))


def check_words(method: str, dtype: str, vae_tiles: str) -> None:
    """Raises SettingsError for a word that is none of those known."""
    one_of("method", method, METHODS)
    one_of("dtype", dtype, DTYPES)
    one_of("vae_tiles", vae_tiles, TILES)


def check_counts(count: int | None, steps: int | None, batch_size: int | None) -> None:
    """Raises SettingsError for a number that is too small or too large."""
    at_least("count", count, 1, MOST_PICTURES)
    at_least("steps", steps, 1, MOST_STEPS)
    at_least("batch_size", batch_size, 1, MOST_PICTURES)


def changes_of(chosen: Mapping[str, Any], method: str) -> dict[str, Any]:
    """What the options say beside a preset or a configuration; the method that is there by default says nothing."""
    return given_options(chosen) | ({} if method in METHODS[:2] else {"method": method})


def settings_for(unet: Any, method: str, given: ReferenceConfig, own: Settings, changes: dict[str, Any]) -> Settings:
    """The settings of a run: `changes` to those of the preset (`own`), or of the configuration if there is one.

    FreeU is on where the method was published with it, unless `changes` says otherwise. Raises SettingsError.
    """
    settings = (given.settings(describe(unet)) if given.file else own).replace(**changes)
    if "freeu" not in changes and method != "plain" and method_class(method).published_with_freeu:
        return with_freeu(settings, unet)
    return settings


def planned(unet: Any, size: sizes.Size, settings: Settings, named: Preset | None) -> Plan:
    """The plan of a run at `size` (width, height). Raises SettingsError, also for a preset of another family."""
    plan = planning.plan(unet, *size, settings)
    if named is not None and not named.fits(plan.family):
        raise SettingsError("preset", named.name, f"one for {plan.family}, which this model is, or Auto")
    return plan


def names_of(model: str, added: Addons) -> dict[str, Any]:
    """What a picture's text calls the model and what is added to it."""
    return {
        "model": Path(model).name if model else "bundled",
        "control": added.control,
        "loras": tuple((path.stem, weight) for path, weight in added.loras),
        "embeddings": tuple(token for _, token in added.embeddings),
    }


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


def given_by(config: Path | None, chosen: Preset | None, width: int | None, height: int | None) -> ReferenceConfig:
    """What a configuration of the authors says, or stand-ins, at the size that is asked for, else the preset's own.

    Raises SettingsError.
    """
    given = ReferenceConfig("", (chosen.size if chosen else None) or (512, 512), 0)
    if config is not None:
        if chosen is not None:
            raise SettingsError("preset", chosen.name, "Auto beside --config, which says what presets say")
        given = published_config.read(config)
    size = given.size[0] if width is None else width, given.size[1] if height is None else height
    sizes.check_picture_size(*size)
    return dataclasses.replace(given, size=size)


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


def with_freeu(settings: Settings, unet: Any) -> Settings:
    """`settings` with FreeU on, as in the authors' runs, if the UNet has layers on which it acts."""
    if settings.freeu is not False:
        return settings
    changed = settings.replace(freeu=True)
    plan = planning.plan(unet, 512, 512, changed)
    acts = plan.freeu is not None and any(plan.freeu.factors(backbone) for _, backbone in plan.up_resnets)
    return changed if acts else settings


def sampling(pipe: Any, plan: Plan, named: Preset | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """How to sample (`run_of`); the pipeline has that scheduler then. Raises SettingsError."""
    run = run_of(named or preset_files.choose(plan.family, *plan.size), given, plan.family)
    set_scheduler(pipe, run["scheduler"])
    return run


def run_of(chosen: Preset | None, given: Mapping[str, Any], family: str = "sd15") -> dict[str, Any]:
    """How to sample: as was given, else as the preset says, else as usual for the family."""
    usual = {"scheduler": "ddim", "eta": 1.0, "steps": 50, "cfg": 5.0 if family == "sdxl" else 7.5}
    run = {**usual, **(chosen.run if chosen else {}), **{k: v for k, v in given.items() if v is not None}}
    return {**run, "eta": float(run["eta"]), "cfg": float(run["cfg"])}


def check_run(run: Mapping[str, Any]) -> None:
    """Raise SettingsError for what cannot be sampled with, be it from a preset's file."""
    one_of("scheduler", run["scheduler"], SCHEDULERS)
    in_range("eta", run["eta"], 0.0, 1.0)
    at_least("steps", run["steps"], 1, MOST_STEPS)
    check_cfg(run["cfg"])


def print_plan(plan: Plan, method: str) -> None:
    """The first line of the plan, once for all processes."""
    if is_first():
        typer.echo(str(plan).splitlines()[0] if method != "plain" else f"plain, {plan.size[0]}×{plan.size[1]}")
