"""The low-pass filter: its masks against known figures, and the matrix form against a full complex FFT."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fouriscale.filters import separable
from fouriscale.filters.cache import FilterCache
from fouriscale.filters.lowpass import FilterSpec, LowPass, axis_mask, filters_alike, half_mask, roll_off
from fouriscale.lab import naive
from fouriscale.lab.bench.memory import peak_bytes
from fouriscale.maths.schedule import dilation_at
from unets import largest, noise

CPU = torch.device("cpu")
KINDS: tuple[Literal["strong", "weak"], ...] = ("strong", "weak")


def spec(
    kind: str = "strong", scale: float = 2.0, stopband: float = 0.0, size: tuple[int, int] = (16, 16)
) -> FilterSpec:
    """A filter on an even-sized feature map that needs no padding."""
    return FilterSpec(kind, scale, stopband, size, size)  # type: ignore[arg-type]


# --- masks -----------------------------------------------------------------------------------------------------------


def test_strong_mask_at_64_samples_and_scale_2() -> None:
    mask = half_mask("strong", 64, 2.0, 0.0)
    assert (mask[:18] == 1.0).all()
    np.testing.assert_array_equal(mask[17:26], np.arange(8, -1, -1) / 8)
    assert (mask[25:] == 0.0).all()


def test_weak_mask_at_64_samples_and_scale_2() -> None:
    mask = half_mask("weak", 64, 2.0, 0.0)
    assert (mask[:18] == 1.0).all()
    np.testing.assert_array_equal(mask[17:], np.arange(16, 1, -1) / 16)
    assert mask.min() == 2 / 16


@pytest.mark.parametrize(("scale", "strong", "weak"), [(2.0, 0.451, 0.632), (4.0, 0.178, 0.450), (1.2, 0.944, 0.910)])
def test_mean_gains_of_the_two_dimensional_mask(scale: float, strong: float, weak: float) -> None:
    for kind, expected in (("strong", strong), ("weak", weak)):
        mask = axis_mask(kind, 64, scale, 0.0)  # type: ignore[arg-type]
        assert np.outer(mask, mask).mean() == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("length", "bound"), [(16, 1.333), (32, 1.143), (64, 1.067), (128, 1.032)])
@pytest.mark.parametrize("kind", KINDS)
def test_identity_up_to_a_scale(length: int, bound: float, kind: str) -> None:
    scale = (length // 2) / (length // 2 - 2)
    assert scale == pytest.approx(bound, abs=5e-4)
    below, above = (spec(kind, s, 0.0, (length, length)) for s in (scale - 1e-9, scale + 1e-2))
    assert below.is_identity
    assert not above.is_identity
    x = noise(1, 1, length, length)
    assert LowPass(below, CPU)(x) is x
    assert largest(LowPass(above, CPU)(x) - x) > 1e-4


def test_identity_needs_both_axes() -> None:
    assert FilterSpec("strong", 1.3, 0.0, (16, 16), (16, 16)).is_identity
    assert not FilterSpec("strong", 1.3, 0.0, (16, 32), (16, 32)).is_identity
    assert not FilterSpec("strong", 1.3, 0.0, (32, 16), (32, 16)).is_identity


@given(kind=st.sampled_from(KINDS), half=st.integers(1, 96), scale=st.floats(1.0, 16.0), stopband=st.floats(0.0, 1.0))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_masks_are_those_of_the_naive_implementation(kind: str, half: int, scale: float, stopband: float) -> None:
    mask = axis_mask(kind, 2 * half, scale, stopband)  # type: ignore[arg-type]
    np.testing.assert_array_equal(mask, naive.axis_mask(2 * half, scale, stopband, kind).numpy())
    assert mask[half] == 1.0  # the zero frequency
    assert mask.min() >= stopband
    assert mask.max() == 1.0


@pytest.mark.parametrize(
    ("initial", "start", "stop"), [(2, 10, 30), (3, 10, 30), (4, 20, 35), (2, 20, 35), (3, 20, 35)]
)
def test_weak_widths_at_every_annealing_step(initial: int, start: int, stop: int) -> None:
    """Many steps put the width on an integer boundary: the floor is that of float64 in one fixed order."""
    for step, length in itertools.product(range(stop), (16, 24, 32, 36, 48, 64, 96, 128)):
        scale = dilation_at(float(initial), (step, 50), start / 50, stop / 50)
        expected = np.floor_divide(np.float64(scale - 1.0) * length, np.float64(2.0 * scale))
        assert roll_off("weak", length, scale) == expected


def test_the_order_of_the_weak_width_matters() -> None:
    """At 1.4, 70 · 0.4 / 2.8 is 10 exactly, and float64 in this order gives 9."""
    assert roll_off("weak", 70, 1.4) == 9.0
    assert roll_off("strong", 70, 1.4) == 8


# --- the filter ------------------------------------------------------------------------------------------------------


@st.composite
def padded_features(draw: st.DrawFn) -> tuple[int, int, float, float]:
    """Height, width and maybe fractional base of a feature map."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    base = st.floats(2.0, 24.0, allow_subnormal=False)
    return height, width, draw(base), draw(base)


@given(feature=padded_features(), kind=st.sampled_from(KINDS), scale=st.floats(1.0, 6.0), stopband=st.floats(0.0, 1.0))
@example(feature=(16, 16, 8.0, 8.0), kind="strong", scale=2.0, stopband=0.0)
@example(feature=(9, 15, 4.5, 7.5), kind="weak", scale=2.0, stopband=0.0)
@example(feature=(17, 23, 8.0, 8.0), kind="weak", scale=3.0, stopband=0.6)
@example(feature=(20, 20, 8.0, 8.0), kind="strong", scale=2.5, stopband=0.0)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_matrix_form_equals_the_full_fft(
    feature: tuple[int, int, float, float], kind: str, scale: float, stopband: float
) -> None:
    height, width, base_h, base_w = feature
    periods = naive.padded_size(height, width, base_h, base_w)
    x = noise(2, 2, height, width)
    ours = LowPass(FilterSpec(kind, scale, stopband, periods, (height, width)), CPU)(x)  # type: ignore[arg-type]
    expected = naive.lowpass(x, base_h, base_w, scale, stopband, kind)
    torch.testing.assert_close(ours, expected, atol=3e-6, rtol=0)


def test_imaginary_part_is_needed() -> None:
    """Each axis filtered by the even part of its mask is off by far more than the tolerance above."""
    x = noise(1, 1, 32, 32)
    mask = np.fft.ifftshift(axis_mask("strong", 32, 2.0, 0.0))
    even = torch.from_numpy((mask + np.roll(mask[::-1], 1)) / 2)
    only_real = torch.fft.ifft2(torch.fft.fft2(x) * torch.outer(even, even)).real
    assert largest(LowPass(spec(size=(32, 32)), CPU)(x) - only_real) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_constants_pass_and_the_highest_frequency_is_stopped(kind: str) -> None:
    low = LowPass(spec(kind), CPU)
    ones = torch.ones(1, 2, 16, 16)
    torch.testing.assert_close(low(ones), ones, atol=1e-6, rtol=0)
    checkers = ones.clone()
    checkers[..., ::2, 1::2] = checkers[..., 1::2, ::2] = -1.0
    # Both axes are at the Nyquist frequency, where the mask has its smallest value.
    expected = checkers * half_mask(kind, 16, 2.0, 0.0)[-1] ** 2  # type: ignore[arg-type]
    torch.testing.assert_close(low(checkers), expected, atol=1e-6, rtol=0)


def test_full_stopband_changes_nothing() -> None:
    assert spec(scale=4.0, stopband=1.0).is_identity
    x = noise(1, 2, 16, 16)
    assert torch.equal(LowPass(spec(scale=4.0, stopband=1.0), CPU)(x), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_computed_in_float32_and_returned_as_given(dtype: torch.dtype) -> None:
    x = noise(2, 3, 16, 16).to(dtype)
    low = LowPass(spec(), CPU)
    assert low(x).dtype == dtype
    assert torch.equal(low(x), low(x.float()).to(dtype))


def test_autocast_does_not_lower_the_precision() -> None:
    x = noise(2, 3, 16, 16)
    low = LowPass(spec(), CPU)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        inside = low(x)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, low(x))


def test_memory_layout_does_not_matter_and_the_input_stays() -> None:
    x = noise(2, 4, 12, 16)
    low = LowPass(spec(size=(12, 16)), CPU)
    kept = x.clone()
    expected = low(x)
    assert torch.equal(x, kept)
    torch.testing.assert_close(low(x.to(memory_format=torch.channels_last)), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(low(x.mT.contiguous().mT), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("limit", [1, 16 * 16 * 3, 16 * 16 * 7, 16 * 16 * 20, 10**9])
def test_chunks_cover_every_plane_once_and_keep_their_limit(limit: int) -> None:
    shape = (3, 7, 16, 16)
    seen = torch.zeros(shape)
    for part in separable.chunks(shape, limit):
        seen[part] += 1
        assert seen[part].numel() <= max(limit, 16 * 16)
    assert (seen == 1).all()


@pytest.mark.parametrize("planes", [1, 3, 7, 20])
def test_filtering_in_chunks_changes_nothing(planes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(3, 7, 16, 16)
    expected = LowPass(spec(), CPU)(x)
    monkeypatch.setattr(separable, "CPU_CHUNK", planes * 16 * 16)
    torch.testing.assert_close(LowPass(spec(), CPU)(x), expected, atol=1e-6, rtol=0)
    room = torch.full((5, 7, 16, 16), 7.0)
    given = room[1:4]
    assert LowPass(spec(), CPU)(x, given) is given
    torch.testing.assert_close(room[1:4], expected, atol=1e-6, rtol=0)
    assert (room[[0, 4]] == 7.0).all()


def test_wider_copies_of_16_bit_maps_are_small() -> None:
    """The whole map in float32 four times over would be eight times its own bytes."""
    x = noise(2, 64, 128, 128).to(torch.bfloat16)
    low = LowPass(spec(size=(128, 128)), CPU)
    low(x[:1, :1])
    chunk = 4 * separable.CPU_CHUNK
    own = x.numel() * x.element_size()
    assert own <= peak_bytes(lambda: low(x), CPU) <= own + 4.5 * chunk < 8 * own + own


def test_gradients_pass() -> None:
    x = noise(1, 2, 16, 16).requires_grad_()
    low = LowPass(spec(), CPU)
    weights = noise(1, 2, 16, 16, seed=5)
    (gradient,) = torch.autograd.grad((low(x) * weights).sum(), x)
    other = noise(1, 2, 16, 16, seed=6)  # the filter is linear, so its gradient is its transpose
    torch.testing.assert_close((gradient * other).sum(), (low(other) * weights).sum(), atol=1e-4, rtol=0)


def test_filters_that_do_the_same() -> None:
    assert filters_alike(None, None)
    assert filters_alike(None, spec(stopband=1.0))
    assert not filters_alike(spec(), None)
    assert filters_alike(spec(), spec())
    assert not filters_alike(spec(), spec("weak"))
    assert not filters_alike(spec(), spec(size=(16, 32)))
    # both slopes are one sample wide on an axis of 8 at scale 1.4, and not on 64
    for size, alike in (((8, 8), True), ((64, 64), False)):
        one, other = spec("strong", 1.4, 0.0, size), spec("weak", 1.4, 0.0, size)
        assert filters_alike(one, other) == alike
        x = noise(1, 1, *size)
        assert torch.equal(LowPass(one, CPU)(x), LowPass(other, CPU)(x)) == alike


# --- the cache -------------------------------------------------------------------------------------------------------


def test_cache_returns_the_same_filter() -> None:
    cache = FilterCache()
    assert cache.get(spec(), CPU) is cache.get(spec(), CPU)
    assert cache.get(spec("weak"), CPU) is not cache.get(spec(), CPU)
    assert len(cache) == 2


def test_cache_is_bounded_and_forgets_the_least_recently_used() -> None:
    cache = FilterCache(limit=3)
    first, second = (cache.get(spec(scale=scale), CPU) for scale in (2.0, 2.1))
    for step in range(20):
        assert cache.get(spec(scale=2.0), CPU) is first
        cache.get(spec(scale=3.0 + step), CPU)
        assert len(cache) <= 3
    assert len(cache) == 3
    assert cache.get(spec(scale=2.1), CPU) is not second


def test_default_cache_holds_32() -> None:
    cache = FilterCache()
    for step in range(40):
        cache.get(spec(scale=2.0 + step / 64), CPU)
    assert len(cache) == 32
