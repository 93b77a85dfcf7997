"""Settings + UNet structure + picture size → a frozen plan. Pure: the same in gives the same out."""

from __future__ import annotations

import dataclasses

import torch

from . import scalecrafter
from .cost import relative_cost
from .errors import SettingsError
from .maths import sizes
from .maths.freeu import PUBLISHED, FreeU
from .maths.sizes import Size
from .plan_text import METHOD_NAMES, px
from .plans import Plan, rounding_at, whole_multiple
from .scalecrafter import Redilation
from .settings import PLAIN_UP_TO, Settings
from .unet.structure import Layer, Structure, blueprint_structure, describe

STOPBAND = {"sd15": 0.0, "sd21": 0.0, "sdxl": 0.6}
WEAK_DIVISOR = {"sd15": 1.0, "sd21": 1.0, "sdxl": 1.5}
EARLY, LATE = (0.2, 0.6), (0.4, 0.7)  # start, stop of the authors' runs


def plan(unet: torch.nn.Module, width: int, height: int, settings: Settings | None = None) -> Plan:
    """Plan for `unet` at width × height pixels.

    Raises UnsupportedModelError for a module that is no SD 1.x, 2.x or XL UNet, SettingsError for settings or
    a size that do not fit it.
    """
    return plan_structure(describe(unet), width, height, settings)


def plan_family(family: str, width: int, height: int, settings: Settings | None = None) -> Plan:
    """Plan without a model in memory, for the published UNet of `family`."""
    return plan_structure(blueprint_structure(family), width, height, settings)


def plan_structure(structure: Structure, width: int, height: int, settings: Settings | None = None) -> Plan:
    """Plan for a UNet whose structure is known. Raises as `plan` does."""
    settings = settings or Settings()
    sizes.check_picture_size(width, height)
    family = structure.family if settings.family == "auto" else settings.family
    size = (width, height)
    base = _base(structure, family, size, settings)
    scale = _scale(size, base, settings)
    dilation = _dilation(size, base, scale, settings)
    start, stop = _window(settings, family, dilation)
    layers = structure.select(settings.layers, family)
    redilation = None
    if settings.method == "scalecrafter" and scale > 1:
        base, redilation = _redilation(structure, family, size, base, settings)
        dilation, start, stop = redilation.largest, 0.0 if redilation.progressive else redilation.stop, redilation.stop
        layers = _redilated(structure, settings, redilation, layers)
    if not layers:
        raise SettingsError("layers", settings.layers, _layers_allowed(settings, redilation, structure))
    if settings.method == "attn-entropy":
        start, stop, layers = 1.0, 1.0, ()
    strong = STOPBAND[family] if settings.stopband_strong is None else settings.stopband_strong
    weak = STOPBAND[family] if settings.stopband_weak is None else settings.stopband_weak
    made = Plan(
        settings, family, size, base, dilation, scale, start, stop, (strong, weak), WEAK_DIVISOR[family], layers,
        structure.before(layers[0].name) if layers else (), structure.attention, _freeu(settings, family),
        structure.up_resnets, 1.0, _reason(size, base, scale, dilation, stop, settings), redilation,
    )  # fmt: skip
    if made.reason is not None or made.doubled is None:
        return made
    twins = made.twins_by_step()
    guided = sum(twins) / len(twins)
    return dataclasses.replace(made, cost=relative_cost(structure.blueprint, size, layers[0].name, guided))


def _ratio(size: Size, base: Size) -> float:
    return max(size[0] / base[0], size[1] / base[1])


def _treated_as(size: Size, base: Size, settings: Settings) -> int | None:
    """The whole multiple of the base that "auto" plans this size as, where it is near enough to one."""
    by_itself = settings.rounding == "auto" and settings.dilation is None and settings.method == "fouriscale"
    return whole_multiple(_ratio(size, base)) if by_itself else None


def _scale(size: Size, base: Size, settings: Settings) -> int:
    return _treated_as(size, base, settings) or sizes.ceil_scale(size, base)


def _dilation(size: Size, base: Size, scale: int, settings: Settings) -> float:
    if settings.dilation is not None:
        return settings.dilation
    ratio = _ratio(size, base)
    whole = scale == 1 or _treated_as(size, base, settings) is not None or rounding_at(settings, ratio) == "up"
    return float(scale) if whole else ratio


def _redilation(
    structure: Structure, family: str, size: Size, base: Size, settings: Settings
) -> tuple[Size, Redilation]:
    """ScaleCrafter measures SDXL against its square training size, so the base is returned too."""
    if family == "sdxl" and settings.base is None:
        base = (structure.base, structure.base)
    smaller, larger = sorted((size[0] / base[0], size[1] / base[1]))
    if settings.dilation is not None:
        smaller, larger = smaller * settings.dilation / larger, settings.dilation
    found = scalecrafter.published(family, (smaller, max(larger, 1.0)))
    if settings.stop is not None:
        found = dataclasses.replace(found, stop=settings.stop)
    return base, found


def _redilated(
    structure: Structure, settings: Settings, redilation: Redilation, chosen: tuple[Layer, ...]
) -> tuple[Layer, ...]:
    """All layers of the published run, or those of them that the settings choose."""
    touched = tuple(layer for layer in structure.convs if redilation.touches(layer.name))
    return touched if settings.layers == "published" else tuple(layer for layer in touched if layer in chosen)


def _layers_allowed(settings: Settings, redilation: Redilation | None, structure: Structure) -> str:
    if redilation is None:
        return f"layers that this UNet has: none of its {len(structure.convs)} convolutions is among these"
    return f"layers that {METHOD_NAMES[settings.method]} dilates at this size: none of these is among them"


def _base(structure: Structure, family: str, size: Size, settings: Settings) -> Size:
    if settings.base is not None:
        return settings.base
    if family == "sdxl":
        similar = sizes.bucket_of_shape(size, structure.base)
        exact = settings.dilation is None and rounding_at(settings, _ratio(size, similar)) != "up"
        # The padding that a whole multiple needs is no matter where the ratio itself is the dilation, or so near to
        # a multiple of the training size of this shape that the picture is treated as that multiple.
        near = _treated_as(size, similar, settings) is not None
        return similar if exact or near else sizes.nearest_bucket(size, structure.base)
    return (structure.base, structure.base)


def _window(settings: Settings, family: str, dilation: float) -> tuple[float, float]:
    """Start and stop: the user's, else the authors' for this family and scale (SDXL and 4× sides run longer)."""
    start, stop = LATE if family == "sdxl" or dilation > 3 else EARLY
    start = start if settings.start is None else settings.start
    stop = stop if settings.stop is None else settings.stop
    if settings.start is None:
        start = min(start, stop)
    if settings.stop is None:
        stop = max(start, stop)
    return start, stop


def _freeu(settings: Settings, family: str) -> FreeU | None:
    if isinstance(settings.freeu, tuple):
        return FreeU(*settings.freeu)
    return PUBLISHED[family] if settings.freeu else None


def _reason(size: Size, base: Size, scale: int, dilation: float, stop: float, settings: Settings) -> str | None:
    if settings.dilation == 1.0:
        return "the dilation is set to 1"
    if scale == 1 and settings.dilation is None:
        return f"{px(size)} is not larger than the {px(base)} that the model was trained at"
    if stop == 0.0:
        return "stop is 0, so that every step is plain"
    if settings.rounding == "auto" and settings.dilation is None and _ratio(size, base) <= PLAIN_UP_TO:
        return f"up to {PLAIN_UP_TO:g} times the {px(base)} that the model was trained at, a model needs no help"
    return None if dilation > 1.0 else "the dilation is 1"
