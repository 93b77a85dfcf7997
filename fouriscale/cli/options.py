"""The options of `fouriscale generate`: their types and help, and what can be checked before a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image

from ..errors import SettingsError
from ..hosts.diffusers.pipeline import SCHEDULERS
from ..hosts.diffusers.sampling import METHODS, TILES, Control

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# What is drawn, by which model.
Prompt = Annotated[str, typer.Option(help="The prompt, or a .txt file with one prompt a line.")]
Width = Annotated[int | None, typer.Option(help="Pixels, a multiple of 8.", show_default="the preset's, else 512")]
Model = Annotated[str, typer.Option(help="Folder, .safetensors file or hub id.", show_default="bundled")]
ModelConfig = Annotated[
    str,
    typer.Option(help="Folder that a single-file model's configuration is read from.", show_default="from the hub"),
]
Preset = Annotated[str, typer.Option(help="A name from `fouriscale presets`, or Auto.")]
Config = Annotated[
    Path | None, typer.Option(help="A YAML configuration of the authors' program; other options overrule it.")
]
Negative = Annotated[str, typer.Option(help="Negative prompt.")]
Seed = Annotated[int, typer.Option(help="Picture n of a prompt uses seed + n.")]
Count = Annotated[int | None, typer.Option(help="Pictures per prompt.", show_default="1")]
Steps = Annotated[int | None, typer.Option(help="Sampling steps.", show_default="the preset's, else 50")]
Cfg = Annotated[float | None, typer.Option(help="CFG scale.", show_default="the preset's, else 7.5 or 5")]
Scheduler = Annotated[str | None, typer.Option(help=", ".join(SCHEDULERS), show_default="the preset's, else ddim")]
Eta = Annotated[float | None, typer.Option(help="Noise of DDIM steps, 0 to 1.", show_default="the preset's, else 1")]
# The method; its settings are in `settings_options.py`.
Method = Annotated[str, typer.Option(help=", ".join(METHODS))]
VaeTiles = Annotated[str, typer.Option(help=", ".join(TILES) + ": decode in tiles; the picture is the same.")]
# What is added to the model.
Lora = Annotated[list[str], typer.Option(help="Merge this LoRA; may be given several times.", metavar="FILE[:WEIGHT]")]
Embedding = Annotated[
    list[str],
    typer.Option(help="Textual inversion; its token is the file's name; repeatable.", metavar="FILE[:TOKEN]"),
]
ControlNet = Annotated[str, typer.Option(help="Folder, .safetensors file or hub id of a ControlNet.")]
ControlImage = Annotated[
    Path | None, typer.Option(help="What the ControlNet follows (edges, depth …), stretched to the picture's size.")
]
ControlScale = Annotated[float, typer.Option(help="Strength of the ControlNet, 0 to 2.")]
Refiner = Annotated[str, typer.Option(help="Second SDXL model, for the end of the run.")]
RefinerAt = Annotated[float, typer.Option(help="Fraction of the run at which the refiner takes over.")]
# Where it runs, and where pictures go.
Device = Annotated[str, typer.Option(help="cpu, cuda, mps …")]
Dtype = Annotated[str, typer.Option(help=", ".join(DTYPES))]
Out = Annotated[Path, typer.Option(help="Folder for the PNG files.")]
BatchSize = Annotated[int | None, typer.Option(help="Pictures made at once.", show_default="1")]
Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Keep the pictures that are there already.")]
Shard = Annotated[str, typer.Option(help="Make only part I of N, one on each machine.", metavar="I/N")]

LAST_SEED = 2**64 - 1
MOST_STEPS = 1000  # as many as the models were trained with
MOST_PICTURES = 1_000_000
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Addons:
    """What is added to the model, checked as far as that goes without it.

    loras: (file, weight). embeddings: (file, token). controlnet, refiner: "" for none.
    """

    loras: tuple[tuple[Path, float], ...] = ()
    embeddings: tuple[tuple[Path, str], ...] = ()
    controlnet: str = ""
    control: Control | None = None
    refiner: str = ""
    refiner_at: float = 0.8


def addons(
    lora: list[str], embedding: list[str], controlnet: str, image: Path | None, scale: float, refiner: str, at: float
) -> Addons:
    """The values of --lora, --embedding, --controlnet … as they were typed. Raises SettingsError."""
    if bool(controlnet) != (image is not None):
        field, value = ("control_image", "") if controlnet else ("controlnet", "")
        raise SettingsError(field, value, "both a --controlnet and a --control-image, or neither")
    in_range("control_scale", scale, 0.0, 2.0)
    if not 0.0 < at < 1.0:
        raise SettingsError("refiner_at", at, "a number between 0 and 1")
    return Addons(
        tuple(parse_lora(text) for text in lora),
        tuple(parse_embedding(text) for text in embedding),
        controlnet,
        None if image is None else Control(_picture(image), scale, Path(controlnet).name, image.name),
        refiner,
        at,
    )


def parse_lora(text: str) -> tuple[Path, float]:
    """(file, weight) from "FILE" or "FILE:WEIGHT". Raises SettingsError."""
    file, weight = _split(text)
    try:
        value = float(weight or 1.0)
    except ValueError:
        value = float("nan")
    if not -10.0 <= value <= 10.0:
        raise SettingsError("lora", text, "FILE or FILE:WEIGHT with a number from -10 to 10")
    return _existing("lora", file), value


def parse_embedding(text: str) -> tuple[Path, str]:
    """(file, token) from "FILE" or "FILE:TOKEN"; else the file's stem is the token. Raises SettingsError."""
    file, token = _split(text)
    path = _existing("embedding", file)
    token = token or path.stem
    if not token.strip() or len(token.split()) != 1:
        raise SettingsError("embedding", text, "FILE or FILE:TOKEN with a token without spaces")
    return path, token


def _split(text: str) -> tuple[str, str]:
    """At the last colon, but not in the middle of a file's name or after a drive letter."""
    file, colon, rest = text.rpartition(":")
    if not colon or Path(text).exists() or rest.startswith(("/", "\\")):
        return text, ""
    return file, rest


def _existing(name: str, file: str) -> Path:
    path = Path(file)
    if not path.is_file():
        raise SettingsError(name, file, "a file that exists")
    return path


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SettingsError("control_image", str(path), f"a picture that can be read ({error})") from None


def one_of(name: str, value: str, known: Any) -> None:
    """Raise SettingsError for a `value` that is not `known`."""
    if value not in known:
        raise SettingsError(name, value, "one of " + ", ".join(known))


def in_range(name: str, value: float, low: float, high: float) -> None:
    """Raise SettingsError for a `value` outside [low, high]."""
    if not low <= value <= high:
        raise SettingsError(name, value, f"a number from {low:g} to {high:g}")


def at_least(name: str, value: int | None, least: int, most: int | None = None) -> None:
    """Raise SettingsError for a `value` below `least` or above `most`."""
    if value is not None and (value < least or (most is not None and value > most)):
        raise SettingsError(name, value, f"a whole number from {least}" + (f" to {most}" if most else ""))


def check_seeds(first: int, count: int = 1) -> None:
    """Raise SettingsError unless `count` seeds from `first` on are what a random generator can start from."""
    if not 0 <= first <= LAST_SEED - (count - 1):
        of_all = f", the last of {count} pictures' too" if count > 1 else ""
        raise SettingsError("seed", first, f"a whole number from 0 to {LAST_SEED}{of_all}")


def check_cfg(cfg: float | None) -> None:
    """Raise SettingsError for a CFG scale that is no number, or without measure."""
    if cfg is not None:
        in_range("cfg", cfg, 0.0, 1000.0)
