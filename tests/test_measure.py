"""The measures of pictures and of sets of pictures, against closed forms and slower ways to compute the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import linalg

from fouriscale.lab.measure import bootstrap, detail, distance, features, phases, pixels, repetition

RNG = np.random.RandomState


def disc(row: int, column: int, radius: int, side: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).astype(float)


def power_noise(exponent: float, side: int, seed: int) -> np.ndarray:
    """Noise whose power falls as f^exponent."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    f[0, 0] = 1.0
    spectrum = np.fft.fft2(RNG(seed).standard_normal((side, side))) * f ** (exponent / 2)
    return np.fft.ifft2(spectrum).real


def test_shrink() -> None:
    x = RNG(0).rand(12, 18, 3)
    assert_allclose(pixels.shrink(x, 4, 6), x.reshape(4, 3, 6, 3, 3).mean((1, 3)), atol=1e-12)
    # The middle pixel is shared: (1 + 2 / 2) / 1.5 and (2 / 2 + 6) / 1.5.
    assert_allclose(pixels.shrink(np.array([[1.0, 2.0, 6.0]]), 1, 2), [[4 / 3, 14 / 3]])
    assert_allclose(pixels.shrink(np.array([[1.0, 3.0]]), 1, 4), [[1, 1, 3, 3]])
    assert pixels.shrink(x, 5, 7).mean() == pytest.approx(x.mean())


def test_grey() -> None:
    assert_allclose(pixels.grey(np.eye(3)[None]), [[0.299, 0.587, 0.114]])


def test_correlation_is_pearsons_of_the_overlap() -> None:
    rng = RNG(1)
    a, b = 5 + rng.rand(9, 7), rng.rand(9, 7)
    r = repetition.correlation(a, b)
    assert r.shape == (17, 13)
    for down, across in ((0, 0), (2, 3), (-4, 1), (3, -5), (-6, -4)):
        ours = a[max(0, -down) : 9 - max(0, down), max(0, -across) : 7 - max(0, across)]
        theirs = b[max(0, down) : 9 + min(0, down), max(0, across) : 7 + min(0, across)]
        expected = np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]
        assert r[8 + down, 6 + across] == pytest.approx(expected, abs=1e-9)
    assert_allclose(repetition.correlation(np.ones((4, 4)), b[:4, :4]), 0.0)


@pytest.mark.parametrize("tiles", [(2, 2), (1, 2), (3, 1)])
def test_a_tiled_picture_repeats(tiles: tuple[int, int]) -> None:
    tile = RNG(2).rand(60, 60, 3)
    x = np.tile(tile, (*tiles, 1))
    assert repetition.repetition(x) == pytest.approx(1.0, abs=1e-6)
    assert repetition.tile_likeness(x, *tiles) == pytest.approx(1.0, abs=1e-6)


def test_noise_does_not_repeat() -> None:
    x = RNG(3).rand(128, 192)
    assert 0.0 <= repetition.repetition(x) < 0.1
    assert abs(repetition.tile_likeness(x, 2, 2)) < 0.15
    assert np.isnan(repetition.tile_likeness(x, 1, 1))


def test_objects_that_repeat_and_objects_that_do_not() -> None:
    assert repetition.repetition(disc(64, 64, 35)) == 0.0
    assert repetition.repetition(disc(45, 50, 30)) == 0.0
    assert repetition.repetition(disc(35, 35, 25) + disc(90, 90, 25)) > 0.99
    assert repetition.repetition(np.ones((64, 64))) == 0.0
    assert repetition.tile_likeness(disc(32, 32, 20) + disc(96, 92, 20), 2, 2) == pytest.approx(1 / 6, abs=0.01)


def test_too_near_and_too_far_repeats_do_not_count() -> None:
    pair = RNG(4).rand(16, 16)
    for shift, expected in ((30, 0.0), (60, 1.0), (100, 0.0)):  # 0.23, 0.47 and 0.78 of the side
        x = np.full((128, 128), 0.5)
        x[56:72, 6:22] = x[56:72, 6 + shift : 22 + shift] = pair
        assert repetition.repetition(x) == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("exponent", [0.0, -1.0, -2.0, -3.0])
def test_spectral_slope(exponent: float) -> None:
    slopes = [detail.spectral_slope(power_noise(exponent, 256, seed)) for seed in range(4)]
    # The window smears the steepest spectra's strong low frequencies over their weak high ones.
    assert np.mean(slopes) == pytest.approx(exponent, abs=0.1)
    assert np.std(slopes) < 0.1


def test_slope_of_other_shapes() -> None:
    x = RNG(5).standard_normal((128, 256))
    assert detail.spectral_slope(x) == pytest.approx(0.0, abs=0.15)
    assert detail.spectral_slope(100 * x + 7) == pytest.approx(detail.spectral_slope(x), abs=1e-9)
    assert np.isnan(detail.spectral_slope(np.ones((64, 64))))


def test_laplacian_variance() -> None:
    assert detail.laplacian_variance(0.3 * RNG(6).standard_normal((400, 400))) == pytest.approx(20 * 0.09, rel=0.03)
    rows, columns = np.mgrid[:20, :20]
    assert detail.laplacian_variance(3.0 * rows - columns) == pytest.approx(0.0, abs=1e-20)
    assert detail.laplacian_variance((-1.0) ** (rows + columns)) == pytest.approx(64.0)  # ∓8 at every pixel


@pytest.mark.parametrize("d", [2, 3, 4])
def test_phase_disagreement(d: int) -> None:
    rng = RNG(7)
    assert phases.phase_disagreement(np.kron(rng.rand(4, 5, 6), np.ones((d, d))), d) == pytest.approx(0.0, abs=1e-7)
    assert phases.phase_disagreement(rng.standard_normal((240, 240)), d) == pytest.approx(
        (1 - 1 / d**2) ** 0.5, abs=0.01
    )
    pattern = np.tile(rng.rand(d, d), (5, 5))  # all of its variance lies between the phases
    assert phases.phase_disagreement(pattern, d) == pytest.approx(1.0)
    assert phases.phase_disagreement(np.pad(pattern, ((0, d - 1), (0, 1))), d) == pytest.approx(1.0)
    assert np.isnan(phases.phase_disagreement(np.zeros((8, 8)), d))


def test_filters_respond_as_a_convolution_does() -> None:
    x = RNG(8).rand(12, 10, 3)
    weights = features._filters().reshape(3, 5, 5, 16)
    assert_allclose(weights.sum((1, 2)), 0.0, atol=1e-12)
    assert_allclose((weights**2).sum((0, 1, 2)), 1.0)
    (response,) = features._responses(x, 1)
    expected = np.einsum("hwc,chwk->k", x[2:7, 3:8], weights)
    assert_allclose(response[4, 5], np.maximum(expected, 0.0), atol=1e-12)
    assert [level.shape for level in features._responses(x, 3)] == [(12, 10, 16), (6, 5, 16), (3, 3, 16)]


def test_features_see_what_they_should() -> None:
    x, y = RNG(9).rand(64, 64, 3), RNG(10).rand(64, 64, 3)
    kept = features.structure(x, 32)
    assert kept.shape == (64,)
    assert_allclose(features.structure(np.kron(x, np.ones((3, 2, 1))), 32), kept, atol=1e-9)  # the size does not matter
    assert np.abs(features.structure(y, 32) - kept).max() > 0.01
    a, b = features.patches(x, 1, 16), features.patches(x, 2, 16)
    assert a.shape == (8, 32)
    assert np.array_equal(a, features.patches(x, 1, 16))
    assert np.abs(a - b).max() > 1e-3
    whole = features.patches(x, 1, 64)  # one place only
    assert_allclose(whole, whole[:1].repeat(8, 0))


def test_features_are_the_same_everywhere() -> None:
    rows, columns = np.mgrid[:32, :32] / 32
    x = np.stack([rows, columns, rows * columns], -1)
    first = RNG(2403).standard_normal((3, 25, 16))[0, 0, 0]
    assert first == pytest.approx(FIRST_WEIGHT, abs=1e-12)
    assert_allclose(features.structure(x, 32)[[0, 31, 32, 63]], PINNED, atol=1e-9)


FIRST_WEIGHT = 1.768130497887366
PINNED = [0.050457952407, 0.150796340871, 0.054422821022, -0.035516510588]


def test_frechet_distance() -> None:
    rng = RNG(11)
    a = rng.standard_normal((40000, 3)) * [1, 2, 3]
    b = rng.standard_normal((40000, 3)) * [2, 2, 1] + [1, 0, -2]
    # Diagonal covariances: |μ|² + Σ (σa − σb)² = 5 + 1 + 0 + 4.
    assert distance.frechet_distance(a, b) == pytest.approx(10.0, rel=0.02)
    assert distance.frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    a, b = rng.standard_normal((50, 6)) @ rng.rand(6, 6), rng.standard_normal((70, 6)) @ rng.rand(6, 6)
    ca, cb = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * linalg.sqrtm(ca @ cb).real)
    assert distance.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert np.isnan(distance.frechet_distance(a[:1], b))
    assert np.isnan(distance.frechet_distance(a, b[:1]))


def test_kernel_distance() -> None:
    rng = RNG(12)
    x, y = rng.rand(7, 4), rng.rand(5, 4)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 4 + 1) ** 3)

    own = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    theirs = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    cross = np.mean([k(a, b) for a in x for b in y])
    assert distance.Kernel(y, x)() == pytest.approx(own + theirs - 2 * cross)
    assert distance.Kernel(y, x)(np.array([0, 2, 5])) == pytest.approx(distance.Kernel(y, x[[0, 2, 5]])())
    same = [distance.Kernel(rng.standard_normal((200, 8)), rng.standard_normal((200, 8)))() for _ in range(30)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 30**0.5
    assert distance.Kernel(rng.standard_normal((200, 8)), 1 + rng.standard_normal((200, 8)))() > 1.0
    assert np.isnan(distance.Kernel(y, x)(np.array([3, 3])))


def test_standardise() -> None:
    reference = RNG(13).rand(50, 3) * [1, 5, 0] + [3, 0, 2]
    (own,) = distance.standardise(reference, reference)
    assert_allclose(own.mean(0), 0.0, atol=1e-9)
    assert_allclose(own.std(0), [1, 1, 0], atol=1e-9)


def test_interval_of_a_mean() -> None:
    values = RNG(14).standard_normal(400)
    value, low, high = bootstrap.mean_interval(np.append(values, np.nan))
    half = 1.96 * values.std() / 20
    assert value == pytest.approx(values.mean())
    assert low == pytest.approx(value - half, abs=0.1 * half)
    assert high == pytest.approx(value + half, abs=0.1 * half)
    assert bootstrap.mean_interval(np.ones(9)) == (1.0, 1.0, 1.0)
    assert np.isnan(bootstrap.mean_interval(np.array([np.nan]))).all()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = RNG(15)
    held = 0
    for _ in range(300):
        _, low, high = bootstrap.mean_interval((rng.rand(60) < 0.4).astype(float), draws=400)
        held += low <= 0.4 <= high
    assert 0.90 <= held / 300 <= 0.985


def test_ratio_and_shifted_draws() -> None:
    below = 1 + RNG(16).rand(50)
    assert_allclose(bootstrap.ratio_interval(1.5 * below, below), 1.5)
    drawn = RNG(17).standard_normal(5000) + 40
    value, low, high = bootstrap.centred_interval(3.0, np.append(drawn, np.nan))
    assert value == 3.0
    assert_allclose([low, high], [3 - 1.96, 3 + 1.96], atol=0.1)


def test_resamples_are_shared() -> None:
    first = bootstrap.resamples(30, 50)
    assert np.array_equal(first, bootstrap.resamples(30, 50))
    assert first.shape == (50, 30)
    assert (first.min(), first.max()) == (0, 29)
    drawn = bootstrap.statistic_draws(lambda i: float(np.arange(30.0)[i].mean()), 30, 50)
    assert_allclose(drawn, np.arange(30.0)[first].mean(1))
