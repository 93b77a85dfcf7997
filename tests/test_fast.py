"""Fast mode: the coarse grid's arithmetic, which convolutions use it, and how far it is from exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fouriscale as fs
from fouriscale.filters.grid import CoarseGrid, cubic_enlargement
from fouriscale.filters.lowpass import FilterSpec, LowPass
from unets import build, inputs, largest, run

PX, LATENT = 128, 16
FAST = fs.Settings(fast=True)


@pytest.mark.parametrize(("size", "step"), [(16, 2), (17, 2), (20, 3), (21, 4), (3, 4)])
def test_enlargement_keeps_constants_and_samples(size: int, step: int) -> None:
    matrix = cubic_enlargement(size, step)
    assert matrix.shape == (size, math.ceil(size / step))
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(matrix[::step], np.eye(math.ceil(size / step)))


def test_enlargement_reproduces_parabolas_away_from_the_edges() -> None:
    x = np.arange(33.0)
    parabola = 0.3 * x**2 - 2 * x + 1
    inside = slice(4, 28)
    np.testing.assert_allclose((cubic_enlargement(33, 4) @ parabola[::4])[inside], parabola[inside], atol=1e-10)


def test_reducing_is_filtering_and_keeping_every_other_sample() -> None:
    spec = FilterSpec("strong", 2.0, 0.0, (32, 48), (31, 44))
    x = torch.randn(2, 3, 31, 44, generator=torch.Generator().manual_seed(0))
    device = torch.device("cpu")
    expected = LowPass(spec, device)(x)[..., ::2, ::2]
    torch.testing.assert_close(CoarseGrid(spec, 2, device).reduce(x), expected, atol=1e-5, rtol=0)


def test_without_high_frequencies_it_is_the_dilated_convolution_away_from_the_borders() -> None:
    side = torch.arange(64) * (2 * math.pi / 64)
    x = (torch.cos(2 * side)[:, None] * torch.sin(3 * side)[None, :])[None, None]
    weight = torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    grid = CoarseGrid(FilterSpec("strong", 2.0, 0.0, (64, 64), (64, 64)), 2, torch.device("cpu"))
    coarse = grid.enlarge(F.conv2d(grid.reduce(x), weight, padding=1))
    exact = F.conv2d(x, weight, padding=2, dilation=2)
    inside = (..., slice(8, -8), slice(8, -8))
    assert largest(coarse[inside] - exact[inside]) < 0.01 * largest(exact)


def _areas(unet: torch.nn.Module, settings: fs.Settings) -> dict[str, list[tuple[int, int]]]:
    plan = fs.plan(unet, 192, 192, settings)
    seen: dict[str, list[tuple[int, int]]] = {layer.name: [] for layer in plan.layers}
    handles = []
    with fs.attach(unet, plan) as session, torch.no_grad():
        session.progress = (0, 50)
        for layer in plan.layers:  # registered after FouriScale's: they see what the convolution gets
            handles.append(
                unet.get_submodule(layer.path).register_forward_pre_hook(
                    lambda m, args, name=layer.name: seen[name].append((len(args[0]), args[0].shape[-1]))
                )
            )
        unet(**inputs(plan.family, 2, 24, 24))
    for handle in handles:
        handle.remove()
    return seen


def test_strong_rows_are_convolved_at_a_ninth_of_the_area() -> None:
    unet = build("sd15")
    exact, fast = _areas(unet, fs.Settings()), _areas(unet, FAST)
    for layer in fs.plan(unet, 192, 192).layers:
        ((rows, side),) = exact[layer.name]
        assert rows == 3
        if layer.role == "resnet":
            assert fast[layer.name] == [(1, side), (2, -(-side // 3))], layer.name
        else:
            assert fast[layer.name] == [(3, side)], layer.name


def test_the_grid_is_fine_while_annealing() -> None:
    """There the filter lets pass more than a grid for the next whole dilation can hold."""
    plan = fs.plan_family("sd15", 1536, 1536, FAST)
    layer = next(layer for layer in plan.layers if layer.role == "resnet")
    at = {d: plan.method.treatment(layer, False, d, (96, 96), 1).on_grid for d in (3.0, 2.999, 2.5, 2.0, 1.2, 1.0)}
    assert at == {3.0: True, 2.999: False, 2.5: False, 2.0: True, 1.2: False, 1.0: False}
    assert {d: plan.method.on_grid(d) for d in at} == at
    for changes in ({"fast": False}, {"filter": False}, {"stopband_strong": 0.1}):
        assert not fs.plan_family("sd15", 1536, 1536, FAST.replace(**changes)).method.on_grid(3.0)


@pytest.mark.parametrize("size", [(128, 128), (136, 200)])
def test_close_to_exact_on_a_tiny_unet(size: tuple[int, int]) -> None:
    unet = build("sd15")
    x = inputs("sd15", 2, size[1] // 8, size[0] // 8)
    plain = run(unet, x)
    exact, fast = (run(unet, x, fs.plan(unet, *size, s)) for s in (fs.Settings(), FAST))
    error, effect = (exact - fast).norm(), (exact - plain).norm()
    assert error < 0.7 * effect  # random weights make noise of every frequency, which is the hardest case


def test_no_effect_where_the_strong_filter_leaves_high_frequencies() -> None:
    unet = build("sdxl")
    x = inputs("sdxl", 2, LATENT, LATENT)
    exact, fast = (run(unet, x, fs.plan(unet, PX, PX, s)) for s in (fs.Settings(), FAST))
    assert torch.equal(exact, fast)


def band_limited(size: int, highest: int) -> torch.Tensor:
    """Random numbers (1, 4, size, size) with periods of size/highest samples and longer, none above."""
    spectrum = torch.fft.fft2(torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(2)))
    kept = torch.fft.fftfreq(size, 1 / size).abs() <= highest
    return torch.fft.ifft2(spectrum * kept[:, None] * kept[None, :]).real


@pytest.mark.parametrize(("step", "highest", "tolerance"), [(2, 2, 2e-3), (2, 4, 6e-3), (2, 8, 0.06), (4, 2, 0.01)])
def test_reduced_and_enlarged_is_filtered(step: int, highest: int, tolerance: float) -> None:
    """What is far below the coarse grid's limit of 64/(2·step) periods comes back, but for what interpolation costs."""
    x = band_limited(64, highest)
    spec = FilterSpec("strong", float(step), 0.0, (64, 64), (64, 64))
    grid = CoarseGrid(spec, step, torch.device("cpu"))
    filtered = LowPass(spec, torch.device("cpu"))(x)
    inside = (..., slice(8, -8), slice(8, -8))
    error = (grid.enlarge(grid.reduce(x)) - filtered)[inside].norm() / filtered[inside].norm()
    assert error < tolerance


@pytest.mark.parametrize(("size", "step"), [((31, 44), 2), ((17, 25), 3), ((5, 9), 4)])
def test_any_size_comes_back(size: tuple[int, int], step: int) -> None:
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    grid = CoarseGrid(FilterSpec("strong", float(step), 0.0, even, size), step, torch.device("cpu"))
    x = torch.ones(2, 3, *size, dtype=torch.float16)
    small = grid.reduce(x)
    assert small.shape == (2, 3, -(-size[0] // step), -(-size[1] // step))
    assert grid.enlarge(small).shape == x.shape
    assert grid.enlarge(small).dtype == torch.float16


@pytest.mark.parametrize(("scale", "bound"), [(2.0, 0.35), (3.0, 0.42), (4.0, 0.50), (1.5, 0.45)])
def test_how_far_it_is_from_exact(scale: float, bound: float) -> None:
    """One convolution of a 64×64 map with a 1/f spectrum, relative to the exact result. Zero would be 1."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(1, 16, 64, 64, generator=generator)
    frequency = torch.fft.fftfreq(64)
    radius = (frequency[:, None] ** 2 + frequency[None, :] ** 2).sqrt().clamp(min=1 / 64)
    x = torch.fft.ifft2(torch.fft.fft2(white) / radius).real
    weight = torch.randn(16, 16, 3, 3, generator=generator)
    step = math.ceil(scale)
    spec = FilterSpec("strong", scale, 0.0, (64, 64), (64, 64))
    exact = F.conv2d(LowPass(spec, torch.device("cpu"))(x), weight, padding=step, dilation=step)
    grid = CoarseGrid(spec, step, torch.device("cpu"))
    error = (grid.enlarge(F.conv2d(grid.reduce(x), weight, padding=1)) - exact).norm() / exact.norm()
    assert error < bound


def test_downsamplers_stay_on_the_fine_grid_where_they_are_filtered_too() -> None:
    plan = fs.plan_family("sd15", 1536, 1536, FAST)
    for layer in plan.layers:
        stride = 2 if layer.role == "downsampler" else 1
        host, weak = (plan.method.treatment(layer, is_weak, 3.0, (96, 96), stride) for is_weak in (False, True))
        assert host.on_grid == (layer.role == "resnet")
        assert not weak.on_grid
        assert host.dilation == weak.dilation == 3
        assert (host.filter is None) == (layer.role == "upsampler")
    assert not any(plan.method.treatment(layer, False, 1.0, (96, 96), 1).on_grid for layer in plan.layers)
