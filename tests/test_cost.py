"""The cost estimate against known shares of one row's work, and against counted operations of real layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

import fouriscale as fs
from fouriscale.planning.cost import relative_cost, row_costs
from fouriscale.unet.blueprint import BLUEPRINTS
from fouriscale.unet.structure import describe
from unets import CONFIGS

FIRST_HOOKED = "down_blocks.2.resnets.0.conv1"
PUBLISHED: dict[str, dict[str, Any]] = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768},
    "sd21": {
        "sample_size": 64, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
    "sdxl": CONFIGS["sdxl"] | {
        "sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20],
        "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10),
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    },
}  # fmt: skip


def published(family: str) -> UNet2DConditionModel:
    """The published layout, without memory for its weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(**PUBLISHED[family])


def share_before_first_hooked(family: str, side: int) -> float:
    costs = row_costs(BLUEPRINTS[family], (side, side))
    names = list(costs)
    return sum(costs[name] for name in names[: names.index("down_blocks.2")]) / sum(costs.values())


@pytest.mark.parametrize(
    ("family", "side", "percent"),
    [("sd15", 1024, 27.6), ("sd15", 2048, 34.2), ("sdxl", 2048, 13.2), ("sdxl", 4096, 18.1)],
)
def test_share_of_the_blocks_before_the_first_hooked_convolution(family: str, side: int, percent: float) -> None:
    assert 100 * share_before_first_hooked(family, side) == pytest.approx(percent, abs=0.1)


@pytest.mark.parametrize(
    ("family", "side", "guided", "expected"), [("sd15", 1024, 0.6, 1.22), ("sdxl", 2048, 0.7, 1.30)]
)
def test_relative_cost_of_a_whole_run(family: str, side: int, guided: float, expected: float) -> None:
    cost = relative_cost(BLUEPRINTS[family], (side, side), FIRST_HOOKED, guided)
    assert cost == pytest.approx(expected, abs=0.01)
    assert cost == pytest.approx(1 + guided / 2 * (1 - share_before_first_hooked(family, side)))


def test_relative_cost_bounds() -> None:
    blueprint = BLUEPRINTS["sd15"]
    assert relative_cost(blueprint, (1024, 1024), FIRST_HOOKED, 0.0) == 1.0
    first = relative_cost(blueprint, (1024, 1024), "down_blocks.0.resnets.0.conv1", 1.0)
    middle = relative_cost(blueprint, (1024, 1024), "mid_block.resnets.0.conv1", 1.0)
    assert 1.0 < middle < relative_cost(blueprint, (1024, 1024), FIRST_HOOKED, 1.0) < first < 1.5


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_blueprints_are_those_of_the_published_layouts(family: str) -> None:
    structure = describe(published(family))
    assert structure.blueprint == BLUEPRINTS[family]
    assert structure.family == family
    assert structure.base == {"sd15": 512, "sd21": 512, "sdxl": 1024}[family]


@pytest.mark.parametrize(("family", "side"), [("sd15", 1024), ("sdxl", 2048)])
def test_blocks_cost_what_the_operations_of_the_layout_add_up_to(family: str, side: int) -> None:
    unet = published(family)
    extra = {}
    with torch.device("meta"), FlopCounterMode(display=False, depth=None) as counter:
        if family == "sdxl":
            extra["added_cond_kwargs"] = {"text_embeds": torch.randn(1, 1280), "time_ids": torch.randn(1, 6)}
        context = torch.randn(1, 77, unet.config.cross_attention_dim)
        unet(torch.randn(1, 4, side // 8, side // 8), torch.zeros(1), context, **extra)
    counted = counter.get_flop_counts()
    costs = row_costs(BLUEPRINTS[family], (side, side))
    for block, cost in costs.items():
        # two floating-point operations are one multiply-add; the timesteps' projections are not in the estimate
        assert cost == pytest.approx(sum(counted[f"UNet2DConditionModel.{block}"].values()) / 2, rel=1e-3)
    assert sum(costs.values()) == pytest.approx(counter.get_total_flops() / 2, rel=1e-3)


def test_plans_carry_the_cost() -> None:
    plan = fs.plan_family("sd15", 1024, 1024)
    assert plan.cost == relative_cost(BLUEPRINTS["sd15"], (1024, 1024), FIRST_HOOKED, 0.56)  # twins in 28 of 50 steps
    assert plan.to_dict()["cost"] == round(plan.cost, 3)
    assert fs.plan_family("sd15", 1024, 1024, fs.Settings(guidance=False)).cost == 1.0
    assert fs.plan_family("sd15", 512, 512).cost == 1.0
    later = fs.plan_family("sd15", 1024, 1024, fs.Settings(layers="mid"))
    assert 1.0 < later.cost < plan.cost
