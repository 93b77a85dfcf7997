"""Auto changes its way at few, named sizes, and never near a size that people choose."""

from __future__ import annotations

import pytest

import fouriscale as fs
from fouriscale.maths.sizes import Size
from fouriscale.planning.plans import Plan
from fouriscale.settings.presets import AUTO_SETTINGS, choose, load

# What is chosen for squares from this side on: the way, whole-number dilation and base.
SQUARES = {
    "sd15": {
        1536: ("up", 3, (512, 512)), 1616: ("up", 4, (512, 512)), 2152: ("up", 5, (512, 512)),
        2696: ("up", 6, (512, 512)),
    },
    "sdxl": {
        1536: ("down", 1, (1024, 1024)), 1952: ("up", 2, (1024, 1024)),
        # Between the multiples it is the authors' training size of least padding.
        2152: ("up", 3, (1024, 960)), 2184: ("up", 3, (1088, 896)), 2312: ("up", 3, (1152, 832)),
        2504: ("up", 3, (1088, 896)), 2696: ("up", 3, (1024, 960)), 2888: ("up", 3, (1024, 1024)),
    },
}  # fmt: skip


def chosen(family: str, size: Size) -> tuple[str, int, Size]:
    """What Auto chooses, as far as it may change: the way, the largest whole dilation, and the base."""
    preset = choose(family, *size)
    plan = fs.plan_family(family, *size, AUTO_SETTINGS if preset is None else preset.settings)
    largest = max(plan.method.treatment(layer, False, plan.dilation, (size[1] // 8, size[0] // 8), 1).dilation
                  for layer in plan.layers)  # fmt: skip
    return plan.method.frame.rounding, largest, plan.base


def changes(family: str) -> dict[int, tuple[str, int, Size]]:
    """Side of a square → what is chosen from there on."""
    found: dict[int, tuple[str, int, Size]] = {}
    for side in range(1536, 3201, 8):
        now = chosen(family, (side, side))
        if not found or now != list(found.values())[-1]:
            found[side] = now
    return found


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_changes_are_few_and_far_from_what_is_chosen(family: str) -> None:
    found = changes(family)
    assert found == SQUARES[family]
    base = 512 if family == "sd15" else 1024
    named = [*range(base, 4097, base), *(p.size[0] for p in load() if p.family == family and p.size is not None)]
    for side in list(found)[1:]:  # between side − 8 and side
        assert all(abs(side - 4 - name) > 16 for name in named), side


@pytest.mark.parametrize("sides", [(2032, 2040, 2048, 2056, 2064), (3056, 3064, 3072, 3080, 3088)])
def test_a_picture_near_a_multiple_is_that_multiple(sides: tuple[int, ...]) -> None:
    plans = [fs.plan_family("sdxl", side, side, AUTO_SETTINGS) for side in sides]
    frames = [p.method.frame for p in plans]
    assert len({(f.dilation, f.scale, f.base, f.rounding) for f in frames}) == 1
    assert len({(p.start, p.stop) for p in plans}) == 1
    assert {(p.dilation, p.base) for p in plans} == {(round(sides[2] / 1024), (1024, 1024))}


@pytest.mark.parametrize(
    ("settings", "dilation", "base"),
    [
        (fs.Settings(), 3.0, (1024, 960)),  # the authors', as the preset Reference
        (fs.Settings(rounding="exact"), 2056 / 1024, (1024, 1024)),
        (fs.Settings(rounding="down"), 2056 / 1024, (1024, 1024)),
        (fs.Settings(rounding="auto", dilation=1.95), 1.95, (1024, 960)),
    ],
)
def test_only_auto_does_so(settings: fs.Settings, dilation: float, base: Size) -> None:
    plan = fs.plan_family("sdxl", 2056, 2056, settings)
    assert (plan.dilation, plan.base) == (dilation, base)


def test_the_filter_of_a_picture_over_a_multiple_is_no_longer_than_the_picture() -> None:
    """The period that a third multiple would pad to is not needed."""
    plan: Plan = fs.plan_family("sd15", 1040, 1040, AUTO_SETTINGS)
    spec = plan.method.filter_spec("strong", plan.layers[0], (33, 33), plan.dilation)
    assert spec is not None
    assert (plan.dilation, spec.periods) == (2.0, (34, 34))
