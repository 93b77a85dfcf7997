"""The cost estimate against operations that torch counts, in real calls and in the published layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import fouriscale as fs
from fouriscale.planning.cost import row_costs
from fouriscale.unet.blueprint import BLUEPRINTS
from fouriscale.unet.structure import describe
from unets import CONFIGS, build, inputs, noise

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


class Operations(TorchDispatchMode):
    """Counts floating-point operations by torch's own formulas, without FlopCounterMode's slow book-keeping."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def operations(unet: UNet2DConditionModel, call: dict[str, Any]) -> int:
    with Operations() as counted, torch.no_grad():
        unet(**call)
    return counted.total


# The filters' products are not in the estimate: their share falls with the channels, and without them SD 1.5's rows and
# weak rows would be the same. The last: attention's pairs of 64×64 points, and blocks that have them before the first
# weak row.
@pytest.mark.parametrize(
    ("family", "side", "changes", "tolerance"),
    [
        ("sd15", 192, {}, 0.02),
        ("sdxl", 192, {"filter": False}, 0.02),
        ("sdxl", 192, {"filter": False, "layers": "mid"}, 0.01),
        ("sdxl", 192, {"filter": False, "fast": True}, 0.01),
        ("sdxl", 512, {"filter": False}, 0.02),
        ("sdxl", 192, {"filter": False, "guidance": False}, 0.0),
    ],
)
def test_the_estimate_is_the_share_of_operations_that_a_run_adds(
    family: str, side: int, changes: dict[str, Any], tolerance: float
) -> None:
    """Operations of real calls with and without weak rows, as often as each is in a run, over those of plain calls."""
    channels = {"sd15": (32, 32, 64, 64), "sdxl": (16, 16, 32)}[family]
    unet = build(family, block_out_channels=channels)
    call = inputs(family, 2, side // 8, side // 8) | {"encoder_hidden_states": noise(2, 77, 8)}
    plan = fs.plan(unet, side, side, fs.Settings(**changes))
    plain = operations(unet, call)
    counted = []
    for step in (0, 49):
        with fs.attach(unet, plan) as session:
            session.progress = (step, 50)
            counted.append(operations(unet, call))
    assert counted[1] == plain
    share = sum(plan.method.weak_rows_by_step()) / 50
    assert plan.cost == pytest.approx(1 + share * (counted[0] / plain - 1), abs=tolerance)


def test_the_deeper_the_first_hooked_layer_the_less_it_costs() -> None:
    layers = ("mid", "published", "down_blocks.0.*")
    costs = [fs.plan_family("sd15", 1024, 1024, fs.Settings(layers=chosen)).cost for chosen in layers]
    assert 1.0 < costs[0] < costs[1] < costs[2] < 1.5
    assert fs.plan_family("sd15", 1024, 1024, fs.Settings(guidance=False)).cost == 1.0
    assert fs.plan_family("sd15", 512, 512).cost == 1.0


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_blueprints_are_those_of_the_published_layouts(family: str) -> None:
    structure = describe(published(family))
    assert structure.blueprint == BLUEPRINTS[family]
    assert structure.family == family
    assert structure.base == {"sd15": 512, "sd21": 512, "sdxl": 1024}[family]


@pytest.mark.parametrize(("family", "side"), [("sd15", 1024), ("sdxl", 2048)])
def test_blocks_cost_what_the_operations_of_the_layout_add_up_to(family: str, side: int) -> None:
    unet = published(family)
    costs = row_costs(BLUEPRINTS[family], (side, side))
    extra, counter = {}, Operations()
    counted = dict.fromkeys(costs, 0)
    for name in costs:
        block = unet.get_submodule(name)
        block.register_forward_pre_hook(lambda *_, n=name: counted.update({n: counter.total}))
        block.register_forward_hook(lambda *_, n=name: counted.update({n: counter.total - counted[n]}))
    with torch.device("meta"), torch.no_grad(), counter:
        if family == "sdxl":
            extra["added_cond_kwargs"] = {"text_embeds": torch.randn(1, 1280), "time_ids": torch.randn(1, 6)}
        context = torch.randn(1, 77, unet.config.cross_attention_dim)
        unet(torch.randn(1, 4, side // 8, side // 8), torch.zeros(1), context, **extra)
    for name, cost in costs.items():
        # two floating-point operations are one multiply-add; the timesteps' projections are not in the estimate
        assert cost == pytest.approx(counted[name] / 2, rel=1e-3)
    assert sum(costs.values()) == pytest.approx(counter.total / 2, rel=1e-3)
