"""One line that says what will happen for the current model, size and controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import FouriScaleError, UnsupportedModelError
from ..hosts.webui import find_unet
from ..plan_text import METHOD_NAMES, px
from ..planning import plan, plan_family
from ..plans import Plan
from ..presets import Preset
from ..unet.structure import describe
from .args import Parsed, parse, resolve

FAMILY_NAMES = {"sd15": "SD 1.5", "sd21": "SD 2.1", "sdxl": "SDXL"}


def plan_now(sd_model: Any, parsed: Parsed, width: int, height: int, presets: Sequence[Preset]) -> tuple[Plan, str]:
    """The plan for the host's current model. Raises FouriScaleError, also while no model is loaded."""
    unet = find_unet(sd_model)
    settings, preset = resolve(parsed, describe(unet).family, width, height, presets)
    return plan(unet, width, height, settings), preset


def plan_for_family(
    family: str, parsed: Parsed, width: int, height: int, presets: Sequence[Preset]
) -> tuple[Plan, str]:
    """The same for a family by name, without a model."""
    settings, preset = resolve(parsed, family, width, height, presets)
    return plan_family(family, width, height, settings), preset


def headline(
    sd_model: Any, values: Sequence[Any], width: Any, height: Any, presets: Sequence[Preset]
) -> tuple[str, list[Plan]]:
    """For the accordion's header, such as "SDXL 2048×2048: dilation 2 over 1024×1024, about 1.3× time"; and its plans.

    Never raises: what is wrong is the text, and there is no plan then. While no model is loaded (Forge loads one with
    the first picture): what would happen with each common family.
    """
    try:
        parsed, size = parse(values), (int(width), int(height))
        try:
            decided = plan_now(sd_model, parsed, *size, presets)[0]
            return _line(decided), [decided]
        except UnsupportedModelError as error:
            if not ("NoneType" in str(error) or "Fake" in str(error)):
                raise
        plans = [plan_for_family(family, parsed, *size, presets)[0] for family in ("sd15", "sdxl")]
        return "no model is loaded yet; " + "; ".join(map(_line, plans)), plans
    except (FouriScaleError, TypeError, ValueError) as error:
        return str(error), []


def _line(decided: Plan) -> str:
    name = f"{FAMILY_NAMES[decided.family]} {decided.size[0]}×{decided.size[1]}"
    if decided.reason is not None:
        return f"{name}: nothing to do, {decided.reason}"
    method = decided.settings.method
    named = "" if method == "fouriscale" else f"{METHOD_NAMES[method]}, "
    what = f"dilation {decided.dilation:.3g} over {px(decided.base)}" if decided.layers else "queries scaled"
    return f"{name}: {named}{what}, about {decided.cost:.1f}× time"
