"""A plan in words, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..maths.sizes import Size

if TYPE_CHECKING:
    from .plans import Plan

METHOD_NAMES = {"fouriscale": "FouriScale", "scalecrafter": "ScaleCrafter", "attn-entropy": "Attention entropy"}


def px(size: Size) -> str:
    """Such as "1024×768"."""
    return f"{size[0]}×{size[1]}"


def plan_lines(plan: Plan) -> list[str]:
    """What the plan will do, in lines; the first one says the most."""
    method = plan.settings.method
    head = f"{METHOD_NAMES[method]} for {plan.family}, {px(plan.size)}, base {px(plan.base)}: "
    if plan.reason is not None:
        return [head + "nothing to do: " + plan.reason]
    head += f"dilation {plan.dilation:g}, " if plan.layers else "queries scaled in every step, "
    lines = [head + f"estimated {plan.cost:.2f} times the plain run"]
    if method == "attn-entropy":
        return lines
    if plan.redilation is None or plan.redilation.progressive:
        full = f"full until {plan.start:.0%} of the trajectory, annealed until {plan.stop:.0%}"
    else:
        full = f"full until {plan.stop:.0%} of the trajectory"
    return [
        *lines,
        f"  {full}, plain after that",
        "  rows: " + _rows(plan),
        "  of 50 steps: "
        + ", ".join(f"{a}–{b} " + ("plain" if s == 1 else _dilations(plan, s, w)) for a, b, s, w in plan.steps()),
        f"  {len(plan.layers)} convolutions:",
        *(f"    {layer.name}" for layer in plan.layers),
    ]


def _dilations(plan: Plan, strong: int, weak: int) -> str:
    if plan.redilation is None and plan.rounding != "up":
        return "dilated by what is left of the ratio"
    return f"dilation {strong}" if strong == weak else f"dilation {strong} (weak {weak})"


def _rows(plan: Plan) -> str:
    if plan.doubled is None:
        rows = "no extra rows" + (" (guidance off)" if not plan.settings.guidance else "")
    else:
        rows = {"cond": "uncond, cond and its weak twin", "uncond": "uncond and its damped twin, cond"}[plan.doubled]
        rows += " in every second step" * plan.keeps_twins
    if plan.redilation is not None:
        return rows
    strong, weak = plan.stopbands
    return f"{rows}; stop-bands: strong {strong:g}, weak {weak:g}" + ("" if plan.settings.filter else " (filter off)")
