"""Stable Diffusion 1.x, 2.x and XL as diffusers pipelines: loading them, and their schedulers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch

from ...errors import FouriScaleError, SettingsError

OPTIONAL_PARTS = ("safety_checker", "feature_extractor", "image_encoder")  # not needed to make pictures
NO_KARRAS = {"use_karras_sigmas": False}
# name -> (class, arguments beyond the model's own scheduler config)
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", NO_KARRAS),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", NO_KARRAS),
    "dpm++_2m": ("DPMSolverMultistepScheduler", NO_KARRAS),
    "dpm++_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", NO_KARRAS),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", NO_KARRAS),
}


class ModelError(FouriScaleError):
    """The model could not be found, could not be read, or is not a Stable Diffusion pipeline."""


def load_pipeline(model: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", config: str = "") -> Any:
    """A text-to-image pipeline from a diffusers folder, a single .safetensors or .ckpt file, or a hub id.

    config: folder in diffusers' layout that a single file's configuration is read from; "" asks the hub for it.
    Raises ModelError, naming the model, if it cannot be loaded, and SettingsError for an unknown device.
    """
    pipe = load_any(model, dtype, device, config)
    if not isinstance(pipe, diffusers.StableDiffusionPipeline | diffusers.StableDiffusionXLPipeline):
        raise ModelError(
            f"model = {str(model)!r} is a {type(pipe).__name__}; needed is a text-to-image pipeline with a UNet of "
            "Stable Diffusion 1.x, 2.x or XL"
        )
    return pipe


def load_any(
    model: str | Path, dtype: torch.dtype, device: str, config: str = "", kind: Any = None, name: str = "model"
) -> Any:
    """A pipeline of whatever kind, as `load_pipeline` finds and refuses it.

    kind: the class that a single file is read as; None: by its weights. name: what messages call the model.
    """
    check_device(device)
    path = Path(model)
    try:
        if path.is_file():
            pipe = _from_single_file(path, dtype, config, kind)
        elif path.is_dir():
            _check_parts(path, name)
            pipe = diffusers.DiffusionPipeline.from_pretrained(path, torch_dtype=dtype, safety_checker=None)
        elif str(model).count("/") == 1 and not str(model).startswith((".", "/", "~")):
            pipe = diffusers.DiffusionPipeline.from_pretrained(str(model), torch_dtype=dtype)
        else:
            raise ModelError(f"{name} = {str(model)!r} is not allowed: a folder, a .safetensors file, or OWNER/NAME")
        return pipe.to(device)
    except ModelError:
        raise
    except Exception as error:  # the libraries have no common error for files that are not as they should be
        advice = "; offline, name a --single-file-config" if path.is_file() and _is_offline(error) else ""
        raise ModelError(f"{name} = {str(model)!r} could not be loaded: {first_line(error)}{advice}") from error


def _check_parts(folder: Path, name: str) -> None:
    """Raise ModelError for a part that the folder names and lacks: a tokenizer is made up by its library then."""
    listed = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    for part, kind in listed.items():
        named = isinstance(kind, list) and all(kind) and part not in OPTIONAL_PARTS
        if named and not (folder / part).is_dir():
            raise ModelError(f"{name} = {str(folder)!r} could not be loaded: it has no folder {part}")
    for part in (part for part in listed if part.startswith("tokenizer") and (folder / part).is_dir()):
        if not any((folder / part / file).is_file() for file in ("vocab.json", "tokenizer.json")):
            raise ModelError(f"{name} = {str(folder)!r} could not be loaded: its {part} has no vocabulary")


def _is_offline(error: BaseException | None) -> bool:
    """Whether an error is that of the hub being out of reach, or was raised because of it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while error is not None:
        if isinstance(error, ConnectionError | LocalEntryNotFoundError) or type(error).__name__ == "ConnectError":
            return True
        error = error.__cause__ or error.__context__
    return False


def first_line(error: Exception) -> str:
    """What `error` says, without what it goes on to say; a heading brings the line below it along."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[: 1 + lines[0].rstrip().endswith(":")])


def check_device(device: str) -> None:
    """Raise SettingsError for a device that this PyTorch cannot use."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:  # by kind of device
        allowed = "cpu, or one that this PyTorch can use"
        raise SettingsError("device", device, f"{allowed} ({str(error).splitlines()[0]})") from None


def _from_single_file(path: Path, dtype: torch.dtype, config: str, kind: Any) -> Any:
    from safetensors import safe_open

    if kind is None:
        is_xl = False
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as weights:
                is_xl = any(key.startswith("conditioner.") for key in weights.keys())  # noqa: SIM118
        kind = diffusers.StableDiffusionXLPipeline if is_xl else diffusers.StableDiffusionPipeline
    return kind.from_single_file(str(path), torch_dtype=dtype, **({"config": config} if config else {}))


def set_scheduler(pipe: Any, name: str) -> None:
    """Give `pipe` the scheduler called `name`, with the model's own noise schedule. Raises SettingsError."""
    if name not in SCHEDULERS:
        raise SettingsError("scheduler", name, "one of " + ", ".join(SCHEDULERS))
    kind, extra = SCHEDULERS[name]
    pipe.scheduler = getattr(diffusers, kind).from_config(pipe.scheduler.config, **extra)
