"""What is decided about a UNet call: the whole record for every kind of call, written out by hand."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pytest

import fouriscale as fs
from fouriscale.hooks.call import Call, HostSays, decide
from fouriscale.hooks.rows import RowMap
from fouriscale.planning import Plan

HOOKS = Path(fs.__file__).parent / "hooks"
HOST = HostSays()
START, ANNEALING, BEYOND = (0, 50), (20, 50), (40, 50)

PAIR = RowMap(2, (1,), "cond", (0, 0))
PAIR_DAMPED = RowMap(2, (1,), "uncond", (0, 0))
COND, UNCOND = RowMap(2, (0, 1), "cond"), RowMap(2, (), "cond")
TWO = RowMap(2, (0, 1), "cond", (0, 1))  # cond rows of two samples
COND_DAMPED, UNCOND_DAMPED = RowMap(2, (0, 1), "uncond"), RowMap(2, (), "uncond")
UNKNOWN = RowMap(3, (0, 1), "cond", (0, None, 0))  # of which sample row 1 is, nobody said
FIRST = RowMap(1, (0,))  # the one row that is computed with its weak row while the other waits

# What FouriScale does at twice the side of SD 1.5: 2 until step 10 of 50, annealed until step 30.
FULL = {"dilation": 2.0}
WEAK = {**FULL, "weak": PAIR, "host": PAIR}
SPLIT = {**FULL, "weak": FIRST, "host": PAIR, "rest": (0,)}
DAMPED = {"dilation": 4.0, "weak": PAIR_DAMPED, "host": PAIR_DAMPED}


def planned(size: int = 1024, **settings: Any) -> Plan:
    return fs.plan_family("sd15", size, size, fs.Settings(**settings))


OURS, AMPLIFIED, SMALL = planned(), planned(amp_guidance=2.4), planned(low_memory=True)
OFF = planned(guidance=False)
DAMPING = planned(2048, method="scalecrafter")  # uncond gets damped rows; annealed from the first step on
DAMPING_SMALL = planned(2048, method="scalecrafter", low_memory=True)
REDILATED = planned(method="scalecrafter")  # at twice the side without damped rows
SHARPENED = planned(method="attn-entropy")


@pytest.mark.parametrize(
    ("plan", "progress", "rows", "host", "expected"),
    [
        pytest.param(OURS, START, PAIR, HOST, WEAK, id="weak rows of cond"),
        pytest.param(OURS, START, COND, HOST, {**FULL, "weak": COND, "host": COND}, id="cond alone"),
        pytest.param(OURS, START, UNCOND, HOST, FULL, id="uncond alone"),
        pytest.param(OURS, START, None, HOST, FULL, id="rows not known"),
        pytest.param(OFF, START, PAIR, HOST, FULL, id="guidance off"),
        pytest.param(OURS, ANNEALING, PAIR, HOST, {**WEAK, "dilation": 1.5}, id="annealed"),
        pytest.param(OURS, (29, 50), PAIR, HOST, {"dilation": 1.05}, id="weak rows would be their rows"),
        pytest.param(OURS, BEYOND, PAIR, HOST, {"plain_because": "beyond"}, id="beyond the window"),
        pytest.param(OURS, 0.6, PAIR, HOST, {"plain_because": "beyond"}, id="the window ends before stop"),
        pytest.param(OURS, START, PAIR, HostSays(share_stages=False), {**WEAK, "share_stages": False}, id="no sharing"),
        pytest.param(SMALL, START, PAIR, HOST, SPLIT, id="low memory"),
        pytest.param(SMALL, START, TWO, HOST, {**FULL, "weak": TWO, "host": TWO}, id="low memory, one kind"),
        pytest.param(OURS, START, PAIR, HostSays(one_kind=True), SPLIT, id="the host wants one kind in a call"),
        pytest.param(AMPLIFIED, START, PAIR, HOST, {**WEAK, "amplified": PAIR, "factor": 2.4}, id="amplified"),
        pytest.param(AMPLIFIED, (10, 50), PAIR, HOST, WEAK, id="amplified before start alone"),
        pytest.param(AMPLIFIED, START, None, HOST, {**FULL, "unpaired": True}, id="amplified, rows not known"),
        pytest.param(
            AMPLIFIED, START, UNKNOWN, HOST, {**FULL, "weak": UNKNOWN, "host": UNKNOWN, "unpaired": True},
            id="amplified, a sample not known",
        ),
        pytest.param(
            AMPLIFIED, START, COND, HOST, {**FULL, "weak": COND, "host": COND, "unpaired": True},
            id="amplified, uncond elsewhere",
        ),
        pytest.param(AMPLIFIED, START, UNCOND, HOST, FULL, id="amplified, uncond alone needs nothing"),
        pytest.param(DAMPING, START, PAIR_DAMPED, HOST, DAMPED, id="damped rows of uncond"),
        pytest.param(DAMPING, START, None, HOST, {"dilation": 4.0, "unpaired": True}, id="damped, rows not known"),
        pytest.param(DAMPING, START, COND_DAMPED, HOST, {"dilation": 4.0, "unpaired": True}, id="damped, cond alone"),
        pytest.param(DAMPING, START, UNCOND_DAMPED, HOST, {"dilation": 4.0}, id="damped, uncond alone"),
        pytest.param(
            DAMPING_SMALL, START, PAIR_DAMPED, HOST, {**DAMPED, "weak": FIRST, "rest": (1,)}, id="damped, low memory"
        ),
        pytest.param(REDILATED, START, PAIR, HOST, FULL, id="a method without weak rows"),
        pytest.param(SHARPENED, (49, 50), PAIR, HOST, {"dilation": 1.0}, id="a method that dilates nothing"),
    ],
)  # fmt: skip
def test_what_is_decided(
    plan: Plan, progress: Any, rows: RowMap | None, host: HostSays, expected: dict[str, Any]
) -> None:
    assert decide(plan, progress, plan.cells, rows, host) == Call(progress, plan.method, **expected)


@pytest.mark.parametrize(("progress", "because"), [(START, "other_size"), (BEYOND, "beyond")])
@pytest.mark.parametrize("cells", [(64, 64), (128, 64)])
def test_another_size_stays_plain(progress: Any, because: Any, cells: tuple[int, int]) -> None:
    made = decide(AMPLIFIED, progress, cells, PAIR, HOST)
    assert made == Call(progress, AMPLIFIED.method, plain_because=because, freeu=False)


# Four times the side: until 0.24 at the training size, where the UNet is plain, and until 0.3 at half the size.
COARSE = planned(2048, coarse=0.3)


@pytest.mark.parametrize(
    ("progress", "cells", "dilation", "weak"),
    [
        (0.0, (64, 64), None, None),
        (0.23, (64, 64), None, None),
        (0.24, (128, 128), 2.0, PAIR),
        (0.29, (128, 128), 2.0, PAIR),
        (0.3, None, 4.0, PAIR),
    ],
)
def test_coarse_start(progress: float, cells: Any, dilation: float | None, weak: RowMap | None) -> None:
    stage = {None: None, (64, 64): COARSE.stages[0], (128, 128): COARSE.stages[1]}[cells]
    method = COARSE.method if stage is None else stage.plan.method
    expected = Call(progress, method, dilation, weak=weak, host=weak, coarse=cells)
    assert decide(COARSE, progress, (256, 256), PAIR, HOST) == expected


def test_a_call_that_cannot_be_coarse_is_as_without_it() -> None:
    """And says why, as long as it should have been."""
    host = HostSays(not_coarse="another extension computes in it")
    made, later = (decide(COARSE, progress, (256, 256), PAIR, host) for progress in (0.1, 0.3))
    assert made == Call(0.1, COARSE.method, 4.0, weak=PAIR, host=PAIR, not_coarse="another extension computes in it")
    assert later == Call(0.3, COARSE.method, 4.0, weak=PAIR, host=PAIR)


def test_the_other_half_of_a_call_and_a_call_without_weak_rows() -> None:
    whole = decide(SMALL, START, SMALL.cells, PAIR, HOST)
    assert whole.second_half() == Call(START, SMALL.method, 2.0, host=PAIR)
    assert whole.without_weak_rows() == Call(START, SMALL.method, 2.0, reused=PAIR)


def test_deciding_is_pure() -> None:
    """The same in gives the same out, and what went in is as before; the record cannot be changed."""
    for plan, rows in ((AMPLIFIED, PAIR), (DAMPING_SMALL, PAIR_DAMPED), (COARSE, PAIR)):
        before = repr((plan, rows, HOST))
        one, other = (decide(plan, 0.1, plan.cells, rows, HOST) for _ in range(2))
        assert one == other
        assert repr((plan, rows, HOST)) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.dilation = 3.0  # type: ignore[misc]


def test_hooks_read_the_call_alone() -> None:
    """No file of hooks but the one that decides looks at settings, and those that act on modules see no plan either."""
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in HOOKS.glob("*.py")}
    asking = {
        name for name, tree in trees.items() for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "settings"
    }  # fmt: skip
    assert asking == {"call"}
    planning = {
        name for name, tree in trees.items() for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("planning", "settings")
    }  # fmt: skip
    assert planning == {"attach", "call", "modules", "outcome", "session"}
