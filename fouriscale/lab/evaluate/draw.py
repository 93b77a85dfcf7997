"""One batch of pictures by one method."""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from PIL import Image

from ...hosts.diffusers.on_pipeline import on_pipeline
from ...hosts.diffusers.sampling import decode
from ...settings.settings import Settings
from .methods import Method, first_pass


@dataclass(frozen=True)
class Job:
    """What a batch is made from: one prompt and one seed per picture."""

    prompts: list[str]
    seeds: list[int]
    width: int
    height: int
    base: int
    steps: int
    cfg: float

    def generators(self) -> list[torch.Generator]:
        """One per picture, on the CPU, so that a seed means the same everywhere."""
        return [torch.Generator("cpu").manual_seed(seed) for seed in self.seeds]


@dataclass(frozen=True)
class Drawn:
    """Latents (n, 4, h, w) and the seconds that they took. pictures: None where they are what the latents decode to."""

    latents: torch.Tensor
    seconds: float
    pictures: list[Image.Image] | None = None


def draw(pipe: Any, job: Job, method: Method) -> Drawn:
    """A batch by DDIM with eta 1. Raises what planning raises."""
    start = time.perf_counter()
    pictures = None
    if method.hires:
        latents, pictures = _hires(pipe, job, method)
    else:
        latents = _sample(pipe, job, method.settings)
    if latents.device.type == "cuda":
        torch.cuda.synchronize(latents.device)
    return Drawn(latents, time.perf_counter() - start, pictures)


def _sample(pipe: Any, job: Job, settings: Settings | None) -> torch.Tensor:
    size = (job.width, job.height)
    with nullcontext() if settings is None else on_pipeline(pipe, *size, settings):
        return pipe(**_common(pipe, job), width=job.width, height=job.height).images


def _hires(pipe: Any, job: Job, method: Method) -> tuple[torch.Tensor, list[Image.Image] | None]:
    """As users do today: a picture at a size that the model knows, enlarged, and half of the run once more.

    With the enlarged pictures, if no part of the run follows; latents are then enlarged too.
    """
    width, height = first_pass(job.width, job.height, job.base)
    first = _sample(pipe, dataclasses.replace(job, width=width, height=height), None)
    size = (job.height // 8, job.width // 8)
    latents = torch.nn.functional.interpolate(first, size, mode="bilinear", align_corners=False)
    image: Any = latents
    if method.hires == "pixel":
        image = [p.resize((job.width, job.height), Image.Resampling.LANCZOS) for p in decode(pipe, first)]
    strength = float((method.definition or {})["denoise"])
    if not strength:
        return latents, None if method.hires == "latent" else image
    again = _image_to_image(pipe)
    return again(**_common(again, job), image=image, strength=strength).images, None


def _image_to_image(pipe: Any) -> Any:
    """The same model, for pictures that begin with one."""
    if isinstance(pipe, diffusers.StableDiffusionXLPipeline):
        return diffusers.StableDiffusionXLImg2ImgPipeline(**pipe.components)
    return diffusers.StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)


def _common(pipe: Any, job: Job) -> dict[str, Any]:
    pipe.set_progress_bar_config(disable=True)
    return {
        "prompt": job.prompts,
        "negative_prompt": [""] * len(job.prompts),
        "num_inference_steps": job.steps,
        "guidance_scale": job.cfg,
        "generator": job.generators(),
        "output_type": "latent",
        "eta": 1.0,
    }
