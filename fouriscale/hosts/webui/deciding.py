"""What is done in each pass of a request, and if nothing, why: the one answer for header, route, command and run. Pure.

`plan_for` takes a model's structure, the request and what the host says; it asks neither gradio nor the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import SettingsError, UnsupportedModelError
from ...maths.sizes import Size
from ...planning import plan_structure
from ...planning.plans import Plan
from ...settings.presets import AUTO, Preset
from ...unet.structure import Structure, blueprint_structure, describe
from .args import Parsed, resolve
from .rows import find_unet

FIRST, HIRES, IMG2IMG = "first", "hires", "img2img"
LATENT = 8  # pixels of a side in one of the latent; the hosts round sides down to a multiple of it


@dataclass(frozen=True)
class Pass:
    """One sampling. kind: "first", "hires" or "img2img". size: (width, height) in pixels, multiples of 8.

    strength: denoising strength in [0, 1]; 1 where the pass begins with noise alone.
    """

    kind: str
    size: Size
    strength: float = 1.0


@dataclass(frozen=True)
class Request:
    """What is asked for. passes: those to decide about. hires: whether the request has a hires pass, also if only one
    of its two passes is to be decided about.
    """

    parsed: Parsed
    presets: tuple[Preset, ...]
    passes: tuple[Pass, ...]
    hires: bool = False


@dataclass(frozen=True)
class HostState:
    """What the host says besides. custom_unet: name of an engine that replaces the UNet, or "". other_freeu: whether
    another extension's FreeU is on. smallest_auto: Auto acts from this longer side on, in pixels.
    """

    custom_unet: str = ""
    other_freeu: bool = False
    smallest_auto: int = 0


@dataclass(frozen=True)
class PassDecision:
    """plan: its `reason` says why nothing is done. preset: the one that the settings come from.

    notes: what is done otherwise than asked for. chosen: whether the request wants FouriScale in this pass. expected:
    that nothing is done is what the user asked for, or the usual first half of a hires fix, and worth no comment.
    """

    of: Pass
    plan: Plan
    preset: str
    notes: tuple[str, ...] = ()
    chosen: bool = True
    expected: bool = False


@dataclass(frozen=True)
class Decision:
    """enabled: False where FouriScale is switched off; the passes are then what would be done if it were on."""

    enabled: bool
    passes: tuple[PassDecision, ...]

    @property
    def active(self) -> bool:
        """Whether anything is done at all."""
        return self.enabled and any(p.plan.active for p in self.passes)


def plan_for(model: Structure, request: Request, host: HostState | None = None) -> Decision:
    """Decide about every pass of `request` for a model of this structure.

    Raises SettingsError for arguments or sizes that do not fit the model or each other.
    """
    state = host or HostState()
    decided = tuple(_decide(model, request, one, state) for one in request.passes)
    return Decision(request.parsed.args.enabled, decided)


def _decide(model: Structure, request: Request, one: Pass, host: HostState) -> PassDecision:
    settings, preset = resolve(request.parsed, model.family, *one.size, request.presets)
    notes: tuple[str, ...] = ()
    if settings.freeu and host.other_freeu:
        settings, notes = settings.replace(freeu=False), ("its FreeU stepped aside: another FreeU is active",)
    if settings.coarse and one.strength < 1.0:
        # At a smaller size the pass would lose what the picture that it begins with already has.
        settings = settings.replace(coarse=0.0)
        notes = (*notes, "no coarse start: the pass begins with a picture")
    made = plan_structure(model, *one.size, settings)
    wanted = request.parsed.args.passes
    chosen = wanted == "Both" or (wanted == "Hires pass") == (one.kind == HIRES)
    reason = made.reason
    if host.custom_unet:
        reason = f"the UNet is replaced by {host.custom_unet}, which hooks cannot reach"
    elif not chosen:
        reason = _not_chosen(request, one)
    elif reason is None:
        reason = _too_small(made, preset, host) or _too_late(made, one)
    other_pass = request.hires and one.kind == FIRST and wanted != "First pass"
    expected = not host.custom_unet and (other_pass or (request.hires and not chosen))
    return PassDecision(one, dataclasses.replace(made, reason=reason), preset, notes, chosen, expected)


def _not_chosen(request: Request, one: Pass) -> str:
    wanted = request.parsed.args.passes
    if wanted == "Hires pass" and one.kind == IMG2IMG:
        return "Pass is set to Hires pass, which img2img does not have"
    if wanted == "Hires pass" and not request.hires:
        return "Pass is set to Hires pass, and hires fix is off"
    return f"Pass is set to {wanted}"


def _too_small(made: Plan, preset: str, host: HostState) -> str | None:
    if preset != AUTO or max(made.size) >= host.smallest_auto:
        return None
    return f"Auto acts from {host.smallest_auto} pixels on, as the settings page says"


def _too_late(made: Plan, one: Pass) -> str | None:
    begins = 1.0 - one.strength
    if begins < made.stop or one.strength >= 1.0:
        return None
    return (
        f"with denoising strength {one.strength:g} the pass begins at {begins:.0%} of the trajectory, "
        f"and FouriScale stops at {made.stop:.0%}"
    )


# --- what the hosts' pages and requests say, as passes ----------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """The values of a tab's own controls, as they come. Sides in pixels; None: the page does not have the control.

    resize_by: the scale of img2img's "Resize by", while that is chosen. source: the picture's size, if it is known.
    """

    width: Any
    height: Any
    img2img: bool = False
    enable_hr: Any = False
    hr_scale: Any = 2.0
    hr_resize_x: Any = 0
    hr_resize_y: Any = 0
    denoising_strength: Any = None
    resize_by: Any = None
    source: Size | None = None


def passes_of(page: Page) -> tuple[Pass, ...]:
    """The passes that the host will make of these values.

    Raises SettingsError for values that are no numbers, or where a size cannot be known.
    """
    strength = 1.0 if page.denoising_strength is None else _number("denoising_strength", page.denoising_strength)
    if page.img2img and page.resize_by is not None:
        if page.source is None:
            raise SettingsError("resize by", page.resize_by, "known once the picture is: its size decides")
        scale = _number("resize by", page.resize_by)
        return (Pass(IMG2IMG, _floored(page.source[0] * scale, page.source[1] * scale), strength),)
    width, height = int(_number("width", page.width)), int(_number("height", page.height))
    first = Pass(IMG2IMG, _floored(width, height), strength) if page.img2img else Pass(FIRST, _floored(width, height))
    if page.img2img or not page.enable_hr:
        return (first,)
    scale, x, y = _number("hr_scale", page.hr_scale), _side(page.hr_resize_x), _side(page.hr_resize_y)
    return first, Pass(HIRES, hires_size((width, height), scale, x, y), strength)


def hires_size(size: Size, scale: float, resize_x: int = 0, resize_y: int = 0) -> Size:
    """Size of the hires pass in pixels, as A1111 and Forge compute it.

    scale counts where both resize sides are 0. One resize side keeps the shape; of both the picture is cut to fit.
    """
    width, height = size
    if not resize_x and not resize_y:
        return _floored(int(width * scale), int(height * scale))
    if not width or not height:
        raise SettingsError("size", size, "sides above 0")
    by_width = (resize_x, resize_x * height // width)
    by_height = (resize_y * width // height, resize_y)
    wider = bool(resize_x and resize_y) and width / height < resize_x / resize_y
    enlarged = by_width if wider or not resize_y else by_height
    if not resize_x or not resize_y:
        return _floored(*enlarged)
    # The hosts cut whole latent samples off the enlarged latent.
    targets = zip(enlarged, (resize_x, resize_y), strict=True)
    kept = [big // LATENT - (big - target) // LATENT for big, target in targets]
    return LATENT * kept[0], LATENT * kept[1]


def pass_of(p: Any, latent_shape: Sequence[int]) -> Pass:
    """The pass that a host is about to sample. p: its processing object. latent_shape: (n, c, h, w)."""
    size = (LATENT * int(latent_shape[-1]), LATENT * int(latent_shape[-2]))
    given = getattr(p, "denoising_strength", None)
    strength = 1.0 if given is None else float(given)
    if getattr(p, "is_hr_pass", False):
        return Pass(HIRES, size, strength)
    return Pass(IMG2IMG, size, strength) if getattr(p, "init_images", None) else Pass(FIRST, size)


def structure_of(sd_model: Any) -> Structure | None:
    """The structure of the host's current model, or None while none is loaded (Forge loads one with the first picture).

    Raises UnsupportedModelError for a model that has no UNet of Stable Diffusion 1.x, 2.x or XL.
    """
    if sd_model is None or type(sd_model).__name__ == "FakeInitialModel":
        return None
    return describe(find_unet(sd_model))


def structures(sd_model: Any, family: str = "auto") -> tuple[Structure, ...]:
    """What to plan for: the named family, else the current model, else (while there is none) each common family."""
    if family != "auto":
        return (blueprint_structure(family),)
    loaded = structure_of(sd_model)
    return (loaded,) if loaded is not None else tuple(blueprint_structure(name) for name in ("sd15", "sdxl"))


def loaded_structure(sd_model: Any) -> Structure:
    """As `structure_of`. Raises UnsupportedModelError also while no model is loaded."""
    loaded = structure_of(sd_model)
    if loaded is None:
        raise UnsupportedModelError("no model is loaded yet: load one, or name a family")
    return loaded


def _number(field: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(field, value, "a number") from None
    if not 0.0 <= number <= 1e6:
        raise SettingsError(field, value, "a number from 0 to 1000000")
    return number


def _side(value: Any) -> int:
    return int(_number("hr_resize", value or 0))


def _floored(width: float, height: float) -> Size:
    return int(width) // LATENT * LATENT, int(height) // LATENT * LATENT
