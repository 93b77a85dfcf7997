"""The engine against a naive second implementation, on tiny random UNets at random sizes, bases and steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import fouriscale as fs
from fouriscale.lab import naive
from unets import build, inputs, largest, pick, run

TOLERANCE = 1e-4
THREE_ROWS = [0, 1, 1]  # uncond, cond-strong, cond-weak


@dataclass(frozen=True)
class Case:
    """A run: sizes and bases as (height, width) in latent pixels, window and step of 50."""

    size: tuple[int, int]
    base: tuple[int, int]
    dilation: float | None
    start: int
    stop: int
    step: int

    @property
    def initial(self) -> float:
        scale = max(-(-side // base) for side, base in zip(self.size, self.base, strict=True))
        return float(scale) if self.dilation is None else self.dilation


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Sizes whose ceil-scales over the base are equal on both axes, as the training buckets make them."""
    base = draw(st.sampled_from([(8, 8), (8, 16), (16, 8)]))
    scale = draw(st.integers(2, 4 if base == (8, 8) else 2))
    height, width = (draw(st.integers((scale - 1) * side + 1, scale * side)) for side in base)
    start = draw(st.integers(0, 30))
    stop = draw(st.integers(start + 1, 50))
    dilation = draw(st.none() | st.floats(1.1, 4.0))
    return Case((height, width), base, dilation, start, stop, draw(st.integers(0, stop - 1)))


@cache
def unet_of(family: str) -> UNet2DConditionModel:
    return build(family, seed=3)


def ours(family: str, case: Case, call: dict[str, Any]) -> Tensor:
    unet = unet_of(family)
    chosen = fs.Settings(
        base=(8 * case.base[1], 8 * case.base[0]), dilation=case.dilation, start=case.start / 50, stop=case.stop / 50
    )
    plan = fs.plan(unet, 8 * case.size[1], 8 * case.size[0], chosen)
    return run(unet, call, plan, progress=(case.step, 50))


def slow(family: str, case: Case, call: dict[str, Any]) -> Tensor:
    call = pick(call, THREE_ROWS)
    return naive.unet_rows(
        unet_of(family), call["sample"], call["timestep"], call["encoder_hidden_states"], family=family,
        latent_hw=case.size, base_px=(8 * case.base[0], 8 * case.base[1]), D=case.initial, i=case.step,
        start=case.start, stop=case.stop, added_cond_kwargs=call.get("added_cond_kwargs"),
    )  # fmt: skip


def check(family: str, case: Case) -> None:
    call = inputs(family, 2, *case.size)
    result, expected = ours(family, case, call), slow(family, case, call)
    torch.testing.assert_close(result[0], expected[0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(result[1], expected[2], atol=TOLERANCE, rtol=0)


@given(case=cases())
@example(case=Case((16, 16), (8, 8), None, 10, 30, 0))
@example(case=Case((21, 19), (8, 8), None, 10, 30, 15))
@example(case=Case((29, 27), (8, 8), None, 20, 35, 26))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_sd(case: Case) -> None:
    check("sd15", case)


@given(case=cases())
@example(case=Case((16, 16), (8, 8), None, 20, 35, 27))
@example(case=Case((21, 19), (8, 8), None, 20, 35, 33))
@example(case=Case((29, 27), (8, 8), None, 20, 35, 0))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_sdxl(case: Case) -> None:
    check("sdxl", case)


def test_sd21() -> None:
    check("sd21", Case((15, 23), (8, 16), None, 10, 30, 20))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize(
    "changes", [{"guidance": False}, {"filter": False}, {"stopband_strong": 1.0, "stopband_weak": 1.0}]
)
def test_the_comparison_can_tell(family: str, changes: dict[str, Any]) -> None:
    """Each part of the method moves the result by far more than the tolerance."""
    case = Case((20, 22), (8, 8), None, 20, 35, 5)
    call = inputs(family, 2, *case.size)
    unet = unet_of(family)
    plan = fs.plan(unet, 8 * case.size[1], 8 * case.size[0], fs.Settings(**changes))
    assert plan.dilation == case.initial
    expected = slow(family, case, call)
    assert largest(run(unet, call, plan)[1] - expected[2]) > 50 * TOLERANCE
    assert largest(run(unet, call)[0] - expected[0]) > 50 * TOLERANCE


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_without_guidance_the_cond_row_is_the_strong_estimate(family: str) -> None:
    case = Case((20, 22), (8, 8), None, 20, 35, 5)
    call = inputs(family, 2, *case.size)
    expected = slow(family, case, call)[:2]
    unet = unet_of(family)
    off = fs.plan(unet, 8 * case.size[1], 8 * case.size[0], fs.Settings(guidance=False, base=(64, 64)))
    on = fs.plan(unet, 8 * case.size[1], 8 * case.size[0], fs.Settings(base=(64, 64)))
    torch.testing.assert_close(run(unet, call, off), expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(run(unet, call, on, rows=None), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("layers", ["down+mid", "mid", "mid_block.resnets.1.conv2, up_blocks.0.resnets.*"])
def test_fewer_layers(layers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks that are computed once for a cond row and its weak row grow with the first hooked layer."""
    case = Case((20, 22), (8, 8), None, 20, 35, 5)
    call = inputs("sd15", 2, *case.size)
    unet = unet_of("sd15")
    plan = fs.plan(unet, 8 * case.size[1], 8 * case.size[0], fs.Settings(layers=layers))
    everything = naive.hooked_layers("sd15")
    chosen = {layer.name: everything[layer.name] for layer in plan.layers}
    assert 0 < len(chosen) < len(everything)
    monkeypatch.setattr(naive, "hooked_layers", lambda family: chosen)
    expected = slow("sd15", case, call)
    result = run(unet, call, plan)
    torch.testing.assert_close(result[0], expected[0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(result[1], expected[2], atol=TOLERANCE, rtol=0)
