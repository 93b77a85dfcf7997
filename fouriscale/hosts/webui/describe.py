"""A decision in words: one sentence for the accordion's header, and the same as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import FouriScaleError, SettingsError
from ...maths.sizes import px
from ...planning.plans import Plan
from ...settings.fields import FAMILIES, FAMILY_NAMES, METHODS
from ...settings.presets import Preset
from . import deciding
from .args import Parsed, parse
from .deciding import Decision, HostState, Page, Pass, Request

PASS_NAMES = {deciding.FIRST: "first pass", deciding.HIRES: "hires pass", deciding.IMG2IMG: "img2img"}
NOT_LOADED = "no model is loaded yet"


@dataclass(frozen=True)
class Words:
    """What is said of one pass. name: "first pass", "hires pass" or "img2img". subject: family and size.

    text: what is done, or why nothing is. acts: which of the two.
    """

    name: str
    subject: str
    text: str
    acts: bool


def words(decision: Decision) -> tuple[Words, ...]:
    """One entry for each pass. Where FouriScale is switched off they say what would be done if it were on."""
    found = []
    for one in decision.passes:
        made = one.plan
        text = f"nothing to do, {made.reason}" if made.reason is not None else _deed(made)
        text += "".join(f"; {note}" for note in one.notes if made.active)
        subject = f"{FAMILY_NAMES[made.family]} {px(made.size)}"
        found.append(Words(PASS_NAMES[one.of.kind], subject, text, made.active and decision.enabled))
    return tuple(found)


def _deed(made: Plan) -> str:
    # The method that is there by default goes without saying.
    named = f"{METHODS[made.settings.method]}, " if "method" in made.settings.non_defaults() else ""
    return f"{named}{made.method.header()}, about {made.cost:.1f}× time"


def sentence(decision: Decision) -> str:
    """Such as "SDXL 2048×2048: dilation 2 over 1024×1024, about 1.3× time", with "Off" in front where it is off."""
    told = words(decision)
    several = len(told) > 1
    text = "; ".join(f"{w.name + ' ' if several else ''}{w.subject}: {w.text}" for w in told)
    return text if decision.enabled else f"Off. When on: {text}"


def plan_now(sd_model: Any, parsed: Parsed, width: int, height: int, presets: Sequence[Preset]) -> tuple[Plan, str]:
    """The plan of one pass for the host's current model. Raises FouriScaleError, also while no model is loaded."""
    request = Request(parsed, tuple(presets), (Pass(deciding.FIRST, (width, height)),))
    (one,) = deciding.plan_for(deciding.loaded_structure(sd_model), request).passes
    return one.plan, one.preset


def headline(
    sd_model: Any, values: Sequence[Any], page: Page, presets: Sequence[Preset], host: HostState | None = None
) -> tuple[str, list[Plan]]:
    """The accordion's header, and the plans that it speaks of: of every pass, or while no model is loaded (Forge loads
    one with the first picture) of every common family.

    Never raises: what is wrong is the text, and there is no plan then.
    """
    try:
        parsed = parse(values)
        decisions = decide(sd_model, parsed, page, presets, host)
    except FouriScaleError as error:
        off = "" if not values or _is_on(values) else "Off. When on: "
        return off + str(error), []
    told = [sentence(decision) for decision in decisions]
    if len(decisions) > 1:
        on = [sentence(Decision(True, decision.passes)) for decision in decisions]
        off = "" if parsed.args.enabled else "Off. When on: "
        told = [f"{off}{NOT_LOADED}; " + "; ".join(on)]
    return told[0], [one.plan for decision in decisions for one in decision.passes]


def decide(
    sd_model: Any, parsed: Parsed, page: Page, presets: Sequence[Preset], host: HostState | None = None,
    family: str = "auto",
) -> tuple[Decision, ...]:  # fmt: skip
    """The decision for the host's current model or a family by name; while no model is loaded, for each common family.

    Raises FouriScaleError.
    """
    if family not in ("auto", *FAMILIES):
        raise SettingsError("family", family, ", ".join(("auto", *FAMILIES)))
    passes = deciding.passes_of(page)
    request = Request(parsed, tuple(presets), passes, hires=len(passes) > 1)
    return tuple(deciding.plan_for(model, request, host) for model in deciding.structures(sd_model, family))


def _is_on(values: Sequence[Any]) -> bool:
    try:
        return parse(values[:1]).args.enabled
    except FouriScaleError:
        return True
