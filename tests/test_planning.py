"""Plans: what the family and the size decide, what the user overrides, and how a plan reads."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

import fouriscale as fs
from fouriscale.planning import plan_structure
from fouriscale.unet.structure import blueprint_structure

WINDOWS = [
    ("sd15", 1024, 1024, 0.2, 0.6),
    ("sd15", 1280, 1280, 0.2, 0.6),
    ("sd21", 2048, 1024, 0.4, 0.7),
    ("sd15", 2048, 2048, 0.4, 0.7),
    ("sdxl", 2048, 2048, 0.4, 0.7),
    ("sdxl", 4096, 4096, 0.4, 0.7),
]


@pytest.mark.parametrize(("family", "width", "height", "start", "stop"), WINDOWS)
def test_windows_of_the_authors_runs(family: str, width: int, height: int, start: float, stop: float) -> None:
    plan = fs.plan_family(family, width, height)
    assert (plan.start, plan.stop) == (start, stop)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"start": 0.1}, (0.1, 0.6)),
        ({"stop": 0.9}, (0.2, 0.9)),
        ({"start": 0.8}, (0.8, 0.8)),  # beyond the family's stop
        ({"stop": 0.1}, (0.1, 0.1)),  # before the family's start
        ({"start": 0.3, "stop": 0.5}, (0.3, 0.5)),
    ],
)
def test_a_window_of_ones_own(chosen: dict[str, float], expected: tuple[float, float]) -> None:
    plan = fs.plan_family("sd15", 1024, 1024, fs.Settings(**chosen))  # type: ignore[arg-type]
    assert (plan.start, plan.stop) == expected


@pytest.mark.parametrize(
    ("family", "stopbands", "divisor"),
    [("sd15", (0.0, 0.0), 1.0), ("sd21", (0.0, 0.0), 1.0), ("sdxl", (0.6, 0.6), 1.5)],
)
def test_what_the_family_decides(family: str, stopbands: tuple[float, float], divisor: float) -> None:
    plan = fs.plan_family(family, 2048, 2048)
    assert (plan.method.stopbands, plan.method.weak_divisor) == (stopbands, divisor)
    mixed = fs.plan_family(family, 2048, 2048, fs.Settings(stopband_strong=0.25))
    assert mixed.method.stopbands == (0.25, stopbands[1])


def test_base_and_dilation_of_ones_own() -> None:
    plan = fs.plan_family("sdxl", 2048, 1024, fs.Settings(base=(1024, 768)))
    assert (plan.base, plan.method.frame.scale, plan.dilation) == ((1024, 768), 2, 2.0)
    plan = fs.plan_family("sd15", 1024, 1024, fs.Settings(dilation=2.5))
    assert (plan.base, plan.method.frame.scale, plan.dilation) == ((512, 512), 2, 2.5)
    assert plan.method.whole_dilations(plan.dilation_at((0, 50))) == (3, 3)
    # A dilation of one's own works at the training size too.
    assert fs.plan_family("sd15", 512, 512, fs.Settings(dilation=2)).active


def test_filters_by_role_and_scale() -> None:
    plan = fs.plan_family("sd15", 1024, 768)
    layers = {layer.name: layer for layer in plan.layers}
    resnet = layers["down_blocks.2.resnets.0.conv1"]
    spec = plan.method.filter_spec("weak", resnet, (24, 32), 2.0)
    assert spec is not None
    assert (spec.kind, spec.scale, spec.stopband, spec.periods, spec.size) == ("weak", 2.0, 0.0, (32, 32), (24, 32))
    assert plan.method.filter_spec("strong", resnet, (24, 32), 1.0) is None
    assert plan.method.filter_spec("strong", layers["up_blocks.0.upsamplers.0.conv"], (24, 32), 2.0) is None
    off = fs.plan_family("sd15", 1024, 768, fs.Settings(filter=False))
    assert off.method.filter_spec("strong", resnet, (24, 32), 2.0) is None


def test_sdxl_measures_both_axes_by_the_height() -> None:
    plan = fs.plan_family("sdxl", 2560, 1440)
    assert plan.base == (1280, 768)
    layer = next(c for c in plan.layers if c.name == "down_blocks.2.resnets.0.conv1")
    # 1440 pixels are 45 rows of features, 32 pixels each: bases of 24 and 40, twice of that is the period.
    spec = plan.method.filter_spec("strong", layer, (45, 80), 2.0)
    assert spec is not None
    assert spec.periods == (48, 80)


@pytest.mark.parametrize("settings", [None, fs.Settings(guidance=False, filter=False, base=(512, 768))])
def test_plans_become_plain_values(settings: fs.Settings | None) -> None:
    plan = fs.plan_family("sd15", 1024, 1024, settings)
    plain = plan.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["size"] == [1024, 1024]
    assert plain["base"] == list(plan.base)
    assert len(plain["layers"]) == 34
    assert plain["active"] is True
    assert plain["reason"] is None
    assert (plain["guidance"], plain["filter"]) == (plan.settings.guidance, plan.settings.filter)


@pytest.mark.parametrize(
    ("changes", "doubled"),
    [
        ({}, "cond"),
        ({"guidance": False}, None),
        ({"method": "attn-entropy"}, None),
        ({"method": "scalecrafter"}, "uncond"),
        ({"method": "scalecrafter", "guidance": False}, None),
    ],
)
def test_which_rows_get_weak_rows_and_what_that_costs(changes: dict[str, Any], doubled: str | None) -> None:
    plan = fs.plan_family("sd15", 2048, 2048, fs.Settings(**changes))
    assert plan.method.weak_label == doubled
    assert (plan.cost > 1.0) == (doubled is not None)
    assert plan.to_dict()["method"] == plan.settings.method


def test_attention_entropy_works_throughout() -> None:
    plan = fs.plan_family("sd15", 2048, 1024, fs.Settings(method="attn-entropy"))
    assert (plan.layers, plan.method.frame.area_ratio, plan.active) == ((), 8.0, True)
    assert {plan.method.dilation_at((i, 50)) for i in range(50)} == {1.0}
    assert not fs.plan_family("sd15", 512, 512, fs.Settings(method="attn-entropy")).active


def test_low_memory_and_fast_leave_the_plan_as_it_is() -> None:
    plain = fs.plan_family("sd15", 1024, 1024)
    low, fast = (fs.plan_family("sd15", 1024, 1024, fs.Settings(**{name: True})) for name in ("low_memory", "fast"))
    assert dataclasses.replace(low, settings=plain.settings) == plain
    method = dataclasses.replace(fast.method, fast=False)
    assert dataclasses.replace(fast, settings=plain.settings, cost=plain.cost, method=method) == plain
    assert fast.cost < plain.cost


def test_plans_are_equal_for_equal_input() -> None:
    assert fs.plan_family("sdxl", 2048, 1536) == fs.plan_family("sdxl", 2048, 1536)
    assert hash(fs.plan_family("sdxl", 2048, 1536)) == hash(fs.plan_family("sdxl", 2048, 1536))
    assert fs.plan_family("sdxl", 2048, 1536) != fs.plan_family("sdxl", 1536, 2048)


@pytest.mark.parametrize(
    ("family", "size", "changes", "words"),
    [
        ("sd15", (1024, 1024), {}, ["1024×1024, base 512×512: dilation 2", "0–29 dilation 2, 30–49 plain", "34 conv"]),
        ("sdxl", (2048, 2048), {}, ["0–27 dilation 2, 28–34 dilation 2 (weak 1), 35–49 plain", "21 convolutions:"]),
        ("sd15", (1024, 1024), {"guidance": False}, ["no weak rows (guidance off)", "estimated 1.00 times"]),
        ("sd15", (1024, 1024), {"filter": False}, ["(filter off)"]),
        (
            "sd15",
            (1280, 1280),
            {"method": "scalecrafter"},
            [
                "ScaleCrafter for sd15, 1280×1280, base 512×512: dilation 2.5, estimated 1.00 times",
                "full until 70% of the trajectory, plain",
                "rows: no damped rows\n",
                "0–34 dilation 3, 35–49 plain",
                "39 convolutions:",
            ],
        ),
        (
            "sdxl",
            (4096, 4096),
            {"method": "scalecrafter"},
            [
                "full until 0% of the trajectory, annealed until 70%",
                "rows: uncond and its damped row, cond\n",
                "0–8 dilation 4, 9–17 dilation 3, 18–34 dilation 2, 35–49 plain",
                "28 convolutions:",
            ],
        ),
        ("sdxl", (2048, 2048), {"method": "attn-entropy"}, ["Attention entropy for sdxl, 2048×2048, base 1024×1024:"]),
        (
            "sd15",
            (512, 512),
            {},
            ["nothing to do: 512×512 is not larger than the 512×512 that the model was trained at"],
        ),
    ],
)
def test_plans_read_well(family: str, size: tuple[int, int], changes: dict[str, Any], words: list[str]) -> None:
    text = str(fs.plan_family(family, *size, fs.Settings(**changes)))
    for part in words:
        assert part in text


@pytest.mark.parametrize("size", [512, 1024])
@pytest.mark.parametrize("method", fs.settings.METHODS)
def test_layers_that_come_to_nothing_are_refused_by_name(method: str, size: int) -> None:
    """As on a UNet whose convolutions have other names, or where ScaleCrafter dilates none of those that are chosen."""
    known = blueprint_structure("sd15")
    bare = dataclasses.replace(known, convs=tuple(c for c in known.convs if c.name.startswith("down_blocks.0")))
    for layers in ("published", "down+mid", "mid"):
        with pytest.raises(fs.SettingsError, match=f"^layers = '{layers.replace('+', '.')}' is not allowed: "):
            plan_structure(bare, size, size, fs.Settings(layers=layers, method=method))
    with pytest.raises(fs.SettingsError, match=r"layers = 'no\.such' .*names look like down_blocks\.0"):
        plan_structure(bare, size, size, fs.Settings(layers="no.such", method=method))


def test_layers_that_scalecrafter_does_not_dilate() -> None:
    chosen = fs.Settings(layers="down_blocks.0.resnets.0.conv1", method="scalecrafter")
    with pytest.raises(fs.SettingsError, match=r"layers = .*ScaleCrafter dilates at this size"):
        fs.plan_family("sd15", 2048, 2048, chosen)


@pytest.mark.parametrize("start", [None, 0.2, 1.0])
def test_stop_0_switches_off_whatever_start_is(start: float | None) -> None:
    plan = fs.plan_family("sd15", 1024, 1024, fs.Settings(start=start, stop=0.0))
    assert plan.reason == "stop is 0, so that every step is plain"
