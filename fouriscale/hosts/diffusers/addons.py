"""What users add to a diffusers pipeline: LoRAs, textual inversions, a ControlNet, SDXL's refiner."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch

from ...errors import FouriScaleError, SettingsError
from ...unet.structure import describe
from .pipeline import ModelError, first_line, load_any

# File names of embeddings for SDXL hold one tensor per text encoder under these names.
SDXL_EMBEDDINGS = {"clip_l": ("tokenizer", "text_encoder"), "clip_g": ("tokenizer_2", "text_encoder_2")}


def add_loras(pipe: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Merge LoRA files, each with its weight, into the weights of `pipe`; several add up.

    The weights are merged, not kept beside the layers: the convolutions stay plain Conv2d modules, so that a LoRA on a
    convolution is low-passed and dilated with it. Raises ModelError for a file that does not fit the model.
    """
    name = "merged"
    for path, weight in loras:
        try:
            pipe.load_lora_weights(str(path), adapter_name=name)
            parts = [part for part, adapters in pipe.get_list_adapters().items() if name in adapters]
        except Exception as error:  # the libraries have no common error for files that are not as they should be
            raise ModelError(f"lora = {str(path)!r} does not fit the model: {first_line(error)}") from error
        if not parts:
            raise ModelError(f"lora = {str(path)!r} does not fit the model: none of its weights has a layer there")
        pipe.set_adapters(name, weight)
        pipe.fuse_lora(components=parts)
        pipe.unload_lora_weights()


def add_embedding(pipe: Any, path: Path, token: str) -> None:
    """Teach `pipe` the textual inversion in `path`; `token` calls it in prompts.

    Raises ModelError for a file that does not fit the model.
    """
    try:
        weights = _tensors(path)
        if set(weights) >= set(SDXL_EMBEDDINGS):
            for name, (tokenizer, encoder) in SDXL_EMBEDDINGS.items():
                parts = {"tokenizer": getattr(pipe, tokenizer), "text_encoder": getattr(pipe, encoder)}
                pipe.load_textual_inversion({token: weights[name]}, token=token, **parts)
        else:
            pipe.load_textual_inversion(str(path), token=token)
    except Exception as error:  # the libraries have no common error for files that are not as they should be
        raise ModelError(f"embedding = {str(path)!r} does not fit the model: {first_line(error)}") from error


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix != ".safetensors":
        return {}  # the older format, for one text encoder, is read by diffusers
    from safetensors.torch import load_file

    return load_file(path)


def with_controlnet(pipe: Any, model: str) -> Any:
    """A pipeline of the same parts with the ControlNet `model`: a folder, a .safetensors file, or a hub id.

    Raises ModelError if it cannot be loaded, or was made for another kind of UNet.
    """
    path = Path(model)
    try:
        load = (
            diffusers.ControlNetModel.from_single_file if path.is_file() else diffusers.ControlNetModel.from_pretrained
        )
        controlnet = load(str(model), torch_dtype=pipe.unet.dtype).to(pipe.device)
    except Exception as error:  # the libraries have no common error for files that are not as they should be
        raise ModelError(f"controlnet = {model!r} could not be loaded: {first_line(error)}") from error
    for name in ("block_out_channels", "cross_attention_dim", "layers_per_block"):
        own, needed = getattr(controlnet.config, name), getattr(pipe.unet.config, name)
        if (tuple(own) if isinstance(own, list) else own) != (tuple(needed) if isinstance(needed, list) else needed):
            raise ModelError(f"controlnet = {model!r} was made for another model: its {name} is {own}, not {needed}")
    kind = (
        diffusers.StableDiffusionXLControlNetPipeline
        if hasattr(pipe, "text_encoder_2")
        else diffusers.StableDiffusionControlNetPipeline
    )
    return _rebuilt(kind, pipe, controlnet=controlnet)


def load_refiner(model: str, dtype: torch.dtype, device: str, config: str = "") -> Any:
    """SDXL's refiner, or another SDXL model in its place, as an img2img pipeline.

    Raises ModelError if it cannot be loaded or is no SDXL model.
    """
    kind = diffusers.StableDiffusionXLImg2ImgPipeline
    pipe = load_any(model, dtype, device, config, kind, name="refiner")
    if isinstance(pipe, diffusers.StableDiffusionXLPipeline):
        pipe = _rebuilt(kind, pipe)
    if not isinstance(pipe, kind):
        raise ModelError(f"refiner = {model!r} is a {type(pipe).__name__}; needed is SDXL's refiner or an SDXL model")
    return pipe


def check_refinable(pipe: Any, model: str) -> None:
    """Raise SettingsError where the base pipeline is not SDXL."""
    if describe(pipe.unet).family != "sdxl":
        raise SettingsError("refiner", model, "left out: only SDXL has one, and this model is not SDXL")


def _rebuilt(kind: Any, pipe: Any, **more: Any) -> Any:
    """A pipeline of another kind from the parts and settings of `pipe`."""
    wanted = inspect.signature(kind.__init__).parameters
    parts = {**pipe.components, **{k: v for k, v in pipe.config.items() if k in wanted and k not in pipe.components}}
    parts = {name: part for name, part in parts.items() if name in wanted}
    try:
        return kind(**parts, **more)
    except (TypeError, ValueError) as error:
        raise FouriScaleError(f"{kind.__name__} cannot be made from {type(pipe).__name__}: {error}") from error
