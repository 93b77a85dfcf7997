"""The dilation at each step, in tables for every initial dilation of the authors' runs (paper, section 3.4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fouriscale as fs
from fouriscale.lab import naive
from fouriscale.maths.schedule import dilation_at, progress_of_timestep, strong_dilation, weak_dilation

# First step, last step, strong and weak dilation.
TABLES = [
    ("sd15", 1024, 1024, [(0, 29, 2, 2), (30, 49, 1, 1)]),
    ("sd15", 1280, 1280, [(0, 19, 3, 3), (20, 29, 2, 2), (30, 49, 1, 1)]),
    ("sd15", 2048, 1024, [(0, 24, 4, 4), (25, 29, 3, 3), (30, 34, 2, 2), (35, 49, 1, 1)]),
    ("sd15", 2048, 2048, [(0, 24, 4, 4), (25, 29, 3, 3), (30, 34, 2, 2), (35, 49, 1, 1)]),
    ("sd21", 1024, 1024, [(0, 29, 2, 2), (30, 49, 1, 1)]),
    ("sd21", 2048, 2048, [(0, 24, 4, 4), (25, 29, 3, 3), (30, 34, 2, 2), (35, 49, 1, 1)]),
    ("sdxl", 2048, 2048, [(0, 27, 2, 2), (28, 34, 2, 1), (35, 49, 1, 1)]),
    ("sdxl", 2560, 2560, [(0, 27, 3, 2), (28, 31, 2, 2), (32, 34, 2, 1), (35, 49, 1, 1)]),
    ("sdxl", 4096, 2048, [(0, 27, 3, 2), (28, 31, 2, 2), (32, 34, 2, 1), (35, 49, 1, 1)]),
    ("sdxl", 4096, 4096, [(0, 24, 4, 3), (25, 29, 3, 2), (30, 32, 2, 2), (33, 34, 2, 1), (35, 49, 1, 1)]),
]


@pytest.mark.parametrize(("family", "width", "height", "expected"), TABLES)
def test_dilation_by_step(family: str, width: int, height: int, expected: list[tuple[int, int, int, int]]) -> None:
    plan = fs.plan_family(family, width, height)
    assert plan.method.steps(50) == expected
    one_by_one = [plan.method.whole_dilations(plan.dilation_at((step, 50))) for step in range(50)]
    assert one_by_one == [(strong, weak) for first, last, strong, weak in expected for _ in range(last - first + 1)]


@pytest.mark.parametrize(("family", "width", "height", "expected"), TABLES)
def test_plain_is_exactly_one_after_stop(family: str, width: int, height: int, expected: list[tuple[int, ...]]) -> None:
    plan = fs.plan_family(family, width, height)
    first_plain = expected[-1][0]
    assert [plan.dilation_at((step, 50)) for step in range(first_plain, 50)] == [1.0] * (50 - first_plain)
    assert plan.dilation_at((first_plain - 1, 50)) > 1.0


@given(
    initial=st.integers(2, 16), window=st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted),
    step=st.integers(0, 49),
)  # fmt: skip
@settings(max_examples=300, deadline=None, derandomize=True)
def test_whole_steps_are_those_of_the_naive_implementation(initial: int, window: list[int], step: int) -> None:
    start, stop = window
    ours = dilation_at(float(initial), (step, 50), start / 50, stop / 50)
    assert ours == naive.dilation_at(initial, step, start, stop)


def test_start_and_stop_are_rounded_to_whole_steps() -> None:
    # 0.2 · 7 = 1.4 and 0.6 · 7 = 4.2: full for step 0, then falling over three steps, plain from step 4.
    assert [dilation_at(4.0, (step, 7), 0.2, 0.6) for step in range(7)] == [4.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 3.0), (0.19, 3.0), (0.25, 3.0), (0.5, 2.0), (0.625, 1.5), (0.75, 1.0), (1.0, 1.0)]
)
def test_float_progress_falls_linearly(progress: float, expected: float) -> None:
    assert dilation_at(3.0, progress, 0.25, 0.75) == expected


@given(
    initial=st.floats(1.0, 16.0), window=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    progress=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)  # fmt: skip
@settings(max_examples=300, deadline=None, derandomize=True)
def test_dilation_never_rises_and_stays_in_range(initial: float, window: list[float], progress: list[float]) -> None:
    early, late = (dilation_at(initial, p, *window) for p in progress)
    assert 1.0 <= late <= early <= initial


@pytest.mark.parametrize("at", [0.0, 0.3, 1.0])
def test_start_equal_to_stop_is_a_step(at: float) -> None:
    assert dilation_at(2.0, at, at, at) == 1.0
    assert dilation_at(2.0, (round(at * 50), 50), at, at) == 1.0
    if at > 0.0:
        assert dilation_at(2.0, at - 0.01, at, at) == 2.0
        assert dilation_at(2.0, (round(at * 50) - 1, 50), at, at) == 2.0


def test_start_and_stop_that_round_to_the_same_step() -> None:
    assert [dilation_at(2.0, (step, 4), 0.45, 0.55) for step in range(4)] == [2.0, 2.0, 1.0, 1.0]


def test_progress_of_timesteps() -> None:
    assert progress_of_timestep(999) == 0.0
    assert progress_of_timestep(0) == 1.0
    assert progress_of_timestep(499.5) == 0.5
    # 50 steps of DDIM
    assert [progress_of_timestep(981 - 20 * i) for i in range(50)] == pytest.approx(
        [(18 + 20 * i) / 999 for i in range(50)]
    )
    assert progress_of_timestep(1000) == 0.0  # some samplers start above the last timestep
    assert progress_of_timestep(-1) == 1.0


@pytest.mark.parametrize(
    ("dilation", "strong", "xl_weak"),
    [(1.0, 1, 1), (1.01, 2, 1), (1.5, 2, 1), (1.51, 2, 2), (2.0, 2, 2), (3.0, 3, 2), (4.0, 4, 3)],
)
def test_whole_dilations(dilation: float, strong: int, xl_weak: int) -> None:
    assert strong_dilation(dilation) == strong
    assert weak_dilation(dilation, 1.0) == strong
    assert weak_dilation(dilation, 1.5) == xl_weak
