"""One picture from a pipeline, plain or with FouriScale, and the settings to write into it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from PIL import Image

from .. import infotext
from ..hosts.diffusers import attached, load_pipeline
from ..planning import Plan
from ..settings import Settings

METHODS = ("plain", "fouriscale")
WEBUI_SAMPLERS = {
    "ddim": "DDIM", "euler": "Euler", "euler_a": "Euler a", "heun": "Heun", "dpm++_2m": "DPM++ 2M",
    "dpm++_2m_karras": "DPM++ 2M", "unipc": "UniPC", "pndm": "PLMS", "lms": "LMS",
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What one picture is made from. settings: None means plain. preset: its name, for the picture's text."""

    prompt: str
    width: int
    height: int
    seed: int
    settings: Settings | None
    negative: str = ""
    steps: int = 50
    cfg: float = 7.5
    eta: float = 1.0
    scheduler: str = "ddim"
    preset: str | None = None
    model: str = "bundled"


@dataclass(frozen=True)
class Result:
    """A finished picture. latents: (1, 4, h, w) as the UNet made them. seconds: sampling only, without the decoder."""

    image: Image.Image
    latents: torch.Tensor
    seconds: float
    plan: Plan
    parameters: str


def load(model: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    """`load_pipeline` in silence, save for the progress of a download. Raises as that does."""
    from transformers.utils import logging as transformers_logging  # slow to import

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        if Path(model).exists():
            library.disable_progress_bar()
    return load_pipeline(model, dtype, device)


def sample(pipe: Any, request: Request, on_step: Callable[[int], None] | None = None) -> Result:
    """Make one picture. on_step: told the number of finished steps. Raises what planning raises, before any step."""
    latents, seconds, plan = sample_latents(pipe, request, [request.seed], on_step)
    image = decode(pipe, latents)[0]
    return Result(image, latents, seconds, plan, parameters(request, plan))


def sample_latents(
    pipe: Any, request: Request, seeds: list[int], on_step: Callable[[int], None] | None = None
) -> tuple[torch.Tensor, float, Plan]:
    """The latents of one picture per seed, as one batch: (n, 4, h, w), the seconds it took, and the plan."""
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    extra = {"eta": request.eta} if request.scheduler == "ddim" else {}
    start = time.perf_counter()
    size = (request.width, request.height)
    with attached(pipe, *size, request.settings, request.steps, request.cfg, on_step) as run:
        latents = pipe(
            [request.prompt] * len(seeds),
            negative_prompt=[request.negative] * len(seeds),
            width=request.width,
            height=request.height,
            num_inference_steps=request.steps,
            guidance_scale=request.cfg,
            generator=generators,
            output_type="latent",
            **extra,
            **run.arguments,
        ).images
    return latents, time.perf_counter() - start, run.plan


@torch.no_grad()
def decode(pipe: Any, latents: torch.Tensor) -> list[Image.Image]:
    """Pictures from latents, by the pipeline's own decoder, one at a time."""
    config = pipe.vae.config
    shift = getattr(config, "shift_factor", None) or 0.0
    dtype = pipe.vae.dtype
    upcast = dtype == torch.float16 and getattr(config, "force_upcast", False)
    if upcast:
        pipe.vae.to(torch.float32)
    try:
        pictures = []
        for one in latents.split(1):
            values = one.to(pipe.vae.dtype) / config.scaling_factor + shift
            pictures.append(pipe.vae.decode(values, return_dict=False)[0].float())
    finally:
        if upcast:
            pipe.vae.to(dtype)
    return pipe.image_processor.postprocess(torch.cat(pictures), output_type="pil")


def parameters(request: Request, plan: Plan) -> str:
    """The picture's settings in the WebUI's infotext form."""
    fields: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": WEBUI_SAMPLERS.get(request.scheduler, request.scheduler),
        "CFG scale": request.cfg,
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": request.model,
    }
    if request.scheduler.endswith("_karras"):
        fields["Schedule type"] = "Karras"
    if request.scheduler == "ddim" and request.eta:
        fields["Eta DDIM"] = request.eta
    if request.settings is not None and plan.active:
        fields.update(infotext.to_fields(request.settings, request.preset))
    return infotext.infotext(request.prompt, request.negative, fields)
