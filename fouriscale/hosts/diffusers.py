"""FouriScale on a diffusers pipeline: Stable Diffusion 1.x, 2.x and XL, text to image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch

from ..errors import FouriScaleError, SettingsError
from ..planning import Plan, plan
from ..session import attach
from ..settings import Settings

# name -> (class, arguments beyond the model's own scheduler config)
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++_2m": ("DPMSolverMultistepScheduler", {}),
    "dpm++_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
}


class ModelError(FouriScaleError):
    """The model could not be found or is not a Stable Diffusion pipeline."""


def load_pipeline(model: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    """A text-to-image pipeline from a diffusers folder, a single .safetensors or .ckpt file, or a hub id.

    Raises ModelError, naming the model, if it cannot be loaded.
    """
    path = Path(model)
    try:
        if path.is_file():
            pipe = _from_single_file(path, dtype)
        elif path.is_dir():
            pipe = diffusers.DiffusionPipeline.from_pretrained(path, torch_dtype=dtype, safety_checker=None)
        elif str(model).count("/") == 1 and not str(model).startswith((".", "/", "~")):
            pipe = diffusers.DiffusionPipeline.from_pretrained(str(model), torch_dtype=dtype)
        else:
            raise ModelError(f"model = {str(model)!r} is not allowed: a folder, a .safetensors file, or OWNER/NAME")
    except (OSError, ValueError, KeyError, TypeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model = {str(model)!r} could not be loaded: {first_line}") from error
    if getattr(pipe, "unet", None) is None:
        raise ModelError(f"model = {str(model)!r} is a {type(pipe).__name__}; a Stable Diffusion UNet is needed")
    return pipe.to(device)


def _from_single_file(path: Path, dtype: torch.dtype) -> Any:
    from safetensors import safe_open

    is_xl = False
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as weights:
            is_xl = any(key.startswith("conditioner.") for key in weights.keys())  # noqa: SIM118
    kind = diffusers.StableDiffusionXLPipeline if is_xl else diffusers.StableDiffusionPipeline
    return kind.from_single_file(str(path), torch_dtype=dtype)


def set_scheduler(pipe: Any, name: str) -> None:
    """Give `pipe` the scheduler called `name`, with the model's own noise schedule. Raises SettingsError."""
    if name not in SCHEDULERS:
        raise SettingsError("scheduler", name, "one of " + ", ".join(SCHEDULERS))
    kind, extra = SCHEDULERS[name]
    pipe.scheduler = getattr(diffusers, kind).from_config(pipe.scheduler.config, **extra)


@dataclass
class Run:
    """FouriScale attached to a pipeline. Pass `arguments` to the pipeline's call."""

    plan: Plan
    arguments: dict[str, Any] = field(default_factory=dict)


@contextmanager
def attached(pipe: Any, width: int, height: int, settings: Settings | None, steps: int, cfg: float) -> Iterator[Run]:
    """Attach FouriScale to `pipe` for pictures of width × height pixels; nothing is left when the block ends.

    settings: None leaves the pipeline plain. cfg: the guidance scale of the call; the pipeline has uncond rows above 1.
    Raises what `fouriscale.plan` raises.
    """
    decided = plan(pipe.unet, width, height, settings or Settings())
    run = Run(decided)
    if settings is None:
        yield run
        return
    if decided.family == "sdxl" and decided.active:
        run.arguments.update(_size_conditioning(decided))
    rows = ("uncond", "cond") if cfg > 1.0 else ("cond",)
    with attach(pipe.unet, decided, rows) as session:
        # Schedulers that call the UNet once a step are counted exactly, as the authors do; else its timesteps tell.
        if pipe.scheduler.order == 1 and not isinstance(pipe.scheduler, diffusers.PNDMScheduler):
            session.progress = (0, steps)

            def count(_pipe: Any, step: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
                session.progress = (step + 1, steps)
                return values

            run.arguments["callback_on_step_end"] = count
        yield run


def _size_conditioning(decided: Plan) -> dict[str, Any]:
    """SDXL is told the base size for all rows, not the real size, as in the authors' runs."""
    width, height = decided.base
    size = (height, width)
    return {
        "original_size": size,
        "target_size": size,
        "crops_coords_top_left": (0, 0),
        "negative_original_size": size,
        "negative_target_size": size,
        "negative_crops_coords_top_left": (0, 0),
    }
