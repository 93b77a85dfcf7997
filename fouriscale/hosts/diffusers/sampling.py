"""One picture from a pipeline, plain or with FouriScale, and the settings to write into it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from PIL import Image

from ...errors import NotFiniteError, UnsupportedModelError
from ...planning import plan
from ...planning.plans import Plan
from ...settings import infotext
from ...settings.settings import METHODS as ENGINE_METHODS
from ...settings.settings import Settings
from ...vae.tiled import TiledDecoder
from .on_pipeline import on_pipeline
from .pipeline import load_pipeline

METHODS = ("plain", *ENGINE_METHODS)
TILES = ("auto", "on", "off")
TILES_FROM = 256**2  # pixels of the latent from which on "auto" decodes in tiles
WEBUI_SAMPLERS = {
    "ddim": "DDIM", "euler": "Euler", "euler_a": "Euler a", "heun": "Heun", "dpm++_2m": "DPM++ 2M",
    "dpm++_2m_karras": "DPM++ 2M", "unipc": "UniPC", "pndm": "PLMS", "lms": "LMS",
}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """What a ControlNet follows: a picture, which is stretched to the request's size, and how strongly, from 0 to 2.

    name, file: of the ControlNet and the picture, for the picture's text.
    """

    image: Image.Image
    scale: float = 1.0
    name: str = ""
    file: str = ""


@dataclass(frozen=True)
class Refiner:
    """A second SDXL pipeline, and the fraction of the run at which it takes over. name: for the picture's text."""

    pipe: Any
    at: float = 0.8
    name: str = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Refiner:
        return self  # a request's copies, `dataclasses.asdict` too, share the model


@dataclass(frozen=True)
class Request:
    """What one picture is made from. settings: None means plain.

    preset, own: its name and what it means by itself, for the picture's text; `own` is None where there is no preset.
    control: needs a pipeline with a ControlNet. loras: names and weights of what was merged, for the picture's text.
    embeddings: tokens that the pipeline was taught.
    vae_tiles: see `decode`.
    """

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
    control: Control | None = None
    refiner: Refiner | None = None
    loras: tuple[tuple[str, float], ...] = ()
    vae_tiles: str = "auto"
    embeddings: tuple[str, ...] = ()
    own: Settings | None = None


@dataclass(frozen=True)
class Result:
    """A finished picture. latents: (1, 4, h, w) as the UNet made them. seconds: sampling only, without the decoder."""

    image: Image.Image
    latents: torch.Tensor
    seconds: float
    plan: Plan
    parameters: str


def load(model: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", config: str = "") -> Any:
    """`load_pipeline` in silence, save for the progress of a download. Raises as that does."""
    quiet(model)
    return load_pipeline(model, dtype, device, config)


def quiet(model: str | Path) -> None:
    """Silence the libraries' advice, and their progress bars where nothing is downloaded."""
    from transformers.utils import logging as transformers_logging  # slow to import

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity(logging.CRITICAL)  # errors that matter are raised
        if Path(model).exists():
            library.disable_progress_bar()


def sample(pipe: Any, request: Request, on_step: Callable[[int], None] | None = None) -> Result:
    """Make one picture. on_step: told the number of finished steps. Raises what planning raises, before any step."""
    latents, seconds, plan = sample_latents(pipe, request, [request.seed], on_step)
    image = decode(pipe, latents, request.vae_tiles)[0]
    return Result(image, latents, seconds, plan, parameters(request, plan))


def sample_latents(
    pipe: Any,
    request: Request,
    seeds: list[int],
    on_step: Callable[[int], None] | None = None,
    prompts: list[str] | None = None,
) -> tuple[torch.Tensor, float, Plan]:
    """The latents of one picture per seed, as one batch: (n, 4, h, w), the seconds it took, and the plan.

    prompts: one per seed; None: the request's for all.
    """
    prompts = prompts or [request.prompt] * len(seeds)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    refiner = request.refiner
    if refiner is not None and request.settings is not None:  # refused, if at all, before the first step
        plan(refiner.pipe.unet, request.width, request.height, request.settings)
    start = time.perf_counter()
    more: dict[str, Any] = {"width": request.width, "height": request.height}
    if refiner is not None:
        more["denoising_end"] = refiner.at
    if request.control is not None:
        more |= {"image": request.control.image, "controlnet_conditioning_scale": request.control.scale}
    finished = [0]

    def count(step: int) -> None:
        finished.append(step)
        if on_step is not None:
            on_step(step)

    tell = None if on_step is None else count
    latents, decided = _run(pipe, request, prompts, generators, tell, more)
    if refiner is not None:
        before = finished[-1]
        refiner.pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        tell = None if on_step is None else lambda step: count(before + step)
        more = {"image": latents, "denoising_start": refiner.at}
        latents, _ = _run(refiner.pipe, request, prompts, generators, tell, more)
    return latents, time.perf_counter() - start, decided


def _run(
    pipe: Any,
    request: Request,
    prompts: list[str],
    generators: list[torch.Generator],
    on_step: Callable[[int], None] | None,
    more: dict[str, Any],
) -> tuple[torch.Tensor, Plan]:
    """One call of a pipeline, with FouriScale attached: the latents and the plan."""
    pipe.set_progress_bar_config(disable=True)
    extra = {"eta": request.eta} if request.scheduler == "ddim" else {}
    size = (request.width, request.height)
    decided = plan(pipe.unet, *size, request.settings)

    def after_step(_pipe: Any, call: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:  # some schedulers call the UNet more often than once a step
            on_step((call + 1) * request.steps // max(len(pipe.scheduler.timesteps), 1))
        return values

    with nullcontext() if request.settings is None else on_pipeline(pipe, *size, request.settings):
        latents = pipe(
            prompts,
            negative_prompt=[request.negative] * len(prompts),
            num_inference_steps=request.steps,
            guidance_scale=request.cfg,
            generator=generators,
            output_type="latent",
            callback_on_step_end=after_step,
            **extra,
            **more,
        ).images
    return latents, decided


@torch.no_grad()
def decode(pipe: Any, latents: torch.Tensor, tiles: str = "auto") -> list[Image.Image]:
    """Pictures from latents, by the pipeline's own decoder, one at a time.

    tiles: "on", "off", or "auto" for pictures from 2048×2048 pixels on. The picture is the same, but for rounding.
    Raises UnsupportedModelError for "on" and a decoder that cannot be tiled; "auto" leaves such a decoder as it is.
    Raises NotFiniteError for latents, or pictures of them, that are not: a black picture is nobody's wish.
    """
    with _tiles(pipe, latents, tiles):
        return _decode(pipe, latents)


def _tiles(pipe: Any, latents: torch.Tensor, tiles: str) -> AbstractContextManager[Any]:
    if tiles == "off" or (tiles == "auto" and latents.shape[-2] * latents.shape[-1] < TILES_FROM):
        return nullcontext()
    try:
        return TiledDecoder(pipe.vae.decoder).attach()
    except UnsupportedModelError:
        if tiles == "on":
            raise
        return nullcontext()


def _decode(pipe: Any, latents: torch.Tensor) -> list[Image.Image]:
    config = pipe.vae.config
    shift = getattr(config, "shift_factor", None) or 0.0
    dtype = pipe.vae.dtype
    upcast = dtype == torch.float16 and getattr(config, "force_upcast", False)
    if upcast:
        pipe.vae.to(torch.float32)
    try:
        pictures = []
        for one in latents.split(1):
            _check_finite("latents", one)
            values = one.to(pipe.vae.dtype) / config.scaling_factor + shift
            pictures.append(pipe.vae.decode(values, return_dict=False)[0].float())
            _check_finite("picture as the decoder made it", pictures[-1])
    finally:
        if upcast:
            pipe.vae.to(dtype)
    return pipe.image_processor.postprocess(torch.cat(pictures), output_type="pil")


def _check_finite(what: str, values: torch.Tensor) -> None:
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise NotFiniteError(f"{bad} of {values.numel()} numbers of the {what} are NaN or infinite")


def why_not_finite(pipe: Any) -> str:
    """Why a picture of `pipe` may have come to nothing, as the end of a sentence; "" where that is not known."""
    for part, module in pipe.components.items():
        if isinstance(module, torch.nn.Module):
            for name, weight in module.named_parameters():
                if not torch.isfinite(weight).all():
                    return f", as are weights of the model or of what was merged into it ({part}.{name})"
    advice = "; float16 may not reach far enough: try --dtype bfloat16 or float32"
    return advice if pipe.unet.dtype == torch.float16 else ""


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
    if request.control is not None:
        control = request.control
        fields["ControlNet 0"] = (
            f"Module: none, Model: {control.name}, Weight: {control.scale:g}, Image: {control.file}"
        )
    if request.refiner is not None:
        fields |= {"Refiner": request.refiner.name, "Refiner switch at": request.refiner.at}
    if request.scheduler.endswith("_karras"):
        fields["Schedule type"] = "Karras"
    if request.scheduler == "ddim" and request.eta:
        fields["Eta DDIM"] = request.eta
    if request.settings is not None and plan.active:
        preset, window = request.preset or infotext.CUSTOM, (plan.start, plan.stop)
        fields.update(infotext.to_fields(plan.settings, preset, request.own, window))
    prompt = " ".join([request.prompt, *(f"<lora:{name}:{weight:g}>" for name, weight in request.loras)])
    return infotext.infotext(prompt, request.negative, fields)
