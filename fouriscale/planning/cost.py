"""How much longer a run takes than a plain one, estimated from the UNet's blueprint and the picture's size."""

from __future__ import annotations

from ..maths.sizes import Size
from ..unet.blueprint import Blueprint
from .plans import Plan

CONTEXT_TOKENS = 77


def row_costs(blueprint: Blueprint, size: Size) -> dict[str, float]:
    """Multiply-adds of one row, by block ("conv_in", "down_blocks.0", …, "mid_block", "up_blocks.0", …).

    Convolutions, projections, feed-forward and attention products; norms and activations are left out.
    """
    area = (size[0] / 8) * (size[1] / 8)
    channels, last = blueprint.channels, len(blueprint.channels) - 1
    costs = {"conv_in": area * 4 * channels[0] * 9}
    skips = [channels[0]]
    width = channels[0]
    for level in range(last + 1):
        points, out = area / 4**level, channels[level]
        total = 0.0
        for _ in range(blueprint.resnets):
            total += _resnet(points, width, out) + _transformer(blueprint, points, out, blueprint.depths[level])
            width = out
            skips.append(out)
        if level < last:
            total += points / 4 * out * out * 9
            skips.append(out)
        costs[f"down_blocks.{level}"] = total
    points = area / 4**last
    costs["mid_block"] = 2 * _resnet(points, width, width) + _transformer(blueprint, points, width, blueprint.mid_depth)
    for i in range(last + 1):
        level = last - i
        points, out = area / 4**level, channels[level]
        total = 0.0
        for _ in range(blueprint.resnets + 1):
            total += _resnet(points, width + skips.pop(), out)
            total += _transformer(blueprint, points, out, blueprint.depths[level])
            width = out
        if level:
            total += 4 * points * out * out * 9
        costs[f"up_blocks.{i}"] = total
    return costs


def _resnet(points: float, width: int, out: int) -> float:
    shortcut = width * out if width != out else 0
    return points * (9 * width * out + 9 * out * out + shortcut)


def _transformer(blueprint: Blueprint, points: float, width: int, depth: int) -> float:
    if not depth:
        return 0.0
    context = CONTEXT_TOKENS * 2 * blueprint.context * width
    self_attention = 4 * points * width**2 + 2 * points**2 * width
    cross_attention = 2 * points * width**2 + 2 * points * CONTEXT_TOKENS * width + context
    feed_forward = 12 * points * width**2
    return 2 * points * width**2 + depth * (self_attention + cross_attention + feed_forward)


def run_cost(blueprint: Blueprint, plan: Plan, steps: int = 50) -> float:
    """Time of a whole run over a plain run with CFG at full size (two rows a step), estimated.

    Steps of the coarse start cost what the UNet costs at their size; the blocks before the first hooked convolution
    are not computed for weak rows.
    """
    parts = (plan, *(stage.plan for stage in plan.stages))
    costs = {id(part): _step_costs(blueprint, part) for part in parts}
    weak = {id(part): part.method.weak_rows_by_step(steps) for part in parts if part.active}
    total = 0.0
    for i in range(steps):
        stage = plan.stage_at((i, steps))
        part = plan if stage is None else stage.plan
        total += costs[id(part)][part.active and weak[id(part)][i]]
    return total / (steps * costs[id(plan)][0])


def _step_costs(blueprint: Blueprint, plan: Plan) -> tuple[float, float]:
    """Multiply-adds of a step of two rows at the plan's size: without weak rows, and with one."""
    costs = row_costs(blueprint, plan.size)
    whole, shared = sum(costs.values()), 0.0
    for block, cost in costs.items():
        if not plan.layers or plan.layers[0].name.startswith(block + "."):
            break
        shared += cost
    return 2.0 * whole, 3.0 * whole - shared
