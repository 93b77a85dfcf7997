"""The sample grid and the noise schedule of the coarse start, against closed forms."""

import math

import numpy as np
import pytest
import torch

from fouriscale.errors import SettingsError
from fouriscale.filters.samples import SampleGrid, enlargement, sample_points
from fouriscale.maths.noise import NoiseSchedule

PAIRS = [(128, 64), (64, 64), (96, 64), (91, 64), (181, 128), (256, 64), (7, 3)]


@pytest.mark.parametrize(("full", "coarse"), PAIRS)
def test_points_are_nearest_to_the_cells_centres(full, coarse):
    expected = [math.floor((i + 0.5) * full / coarse) for i in range(coarse)]
    assert sample_points(full, coarse).tolist() == expected


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize(("full", "coarse"), PAIRS)
def test_enlarging_keeps_the_samples_and_constants(full, coarse, wraps):
    matrix = enlargement(full, coarse, wraps)
    np.testing.assert_allclose(matrix[sample_points(full, coarse)], np.eye(coarse), atol=1e-12)
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-12)


@pytest.mark.parametrize(("full", "coarse"), [(128, 64), (91, 64), (181, 128)])
def test_lines_stay_lines_away_from_the_border(full, coarse):
    points = sample_points(full, coarse)
    made = enlargement(full, coarse) @ points
    inner = slice(points[1], points[-2] + 1)
    np.testing.assert_allclose(made[inner], np.arange(full)[inner], atol=1e-9)


def test_a_wrapped_wave_is_kept():
    full, coarse = 128, 32
    wave = np.cos(2 * np.pi * (np.arange(full) - 3) / full)
    made = enlargement(full, coarse, wraps=True) @ wave[sample_points(full, coarse)]
    assert np.abs(made - wave).max() < 2e-3


def test_sampling_after_enlarging_is_the_identity():
    grid = SampleGrid((91, 128), (64, 90), torch.device("cpu"))
    x = torch.randn(2, 4, 64, 90, generator=torch.Generator().manual_seed(0))
    assert grid.enlarge(x).shape == (2, 4, 91, 128)
    torch.testing.assert_close(grid.sample(grid.enlarge(x)), x, atol=1e-5, rtol=0)


def alphas():
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)


def test_levels_at_whole_timesteps_are_the_models_own():
    a, s = NoiseSchedule(alphas()).levels(torch.tensor([0, 500, 999]))
    torch.testing.assert_close(a.flatten().double() ** 2, alphas()[[0, 500, 999]], atol=0, rtol=1e-5)
    torch.testing.assert_close((a**2 + s**2).flatten(), torch.ones(3))


def test_between_timesteps_log_sigma_is_linear():
    sigmas = ((1 - alphas()) / alphas()).sqrt()
    a, s = NoiseSchedule(alphas()).levels(torch.tensor([700.25]))
    assert (s / a).item() == pytest.approx((sigmas[700] ** 0.75 * sigmas[701] ** 0.25).item(), rel=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_clean_and_predicted_are_inverse_and_right(prediction):
    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 2, 4, 8, 8, generator=generator)
    t = torch.tensor([900, 300])
    schedule = NoiseSchedule(alphas(), prediction)
    a = alphas()[t].sqrt().float().view(-1, 1, 1, 1)
    s = (1 - alphas()[t]).sqrt().float().view(-1, 1, 1, 1)
    x = a * clean + s * noise
    target = noise if prediction == "epsilon" else a * noise - s * clean
    torch.testing.assert_close(schedule.clean(x, target, t), clean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(schedule.predicted(x, clean, t), target, atol=1e-4, rtol=1e-4)


def test_zero_terminal_snr_predicting_v():
    values = alphas().clone()
    values[-1] = 0.0
    x, v = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    made = NoiseSchedule(values, "v_prediction").clean(x, v, torch.tensor([999]))
    torch.testing.assert_close(made, -v, atol=1e-5, rtol=1e-5)


def test_sd_schedule_is_known_and_said_to_be_assumed():
    known = NoiseSchedule.stable_diffusion()
    assert known.assumed
    a, _ = known.levels(torch.tensor([999]))
    assert a.item() ** 2 == pytest.approx(0.0047, abs=1e-4)


@pytest.mark.parametrize("bad", [{"prediction": "x0"}, {"alphas_cumprod": [2.0, 1.0]}, {"alphas_cumprod": [0.5]}])
def test_bad_schedules_are_refused(bad):
    with pytest.raises(SettingsError):
        NoiseSchedule(**{"alphas_cumprod": alphas(), **bad})
