"""95 % intervals by resampling pictures. The same resamples serve every method, so that differences are paired."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

DRAWS, SEED = 2000, 0


class Estimate(NamedTuple):
    """A value and its interval."""

    value: float
    low: float
    high: float


def resamples(n: int, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """(draws, n) indices below n, with repetition; the same for the same arguments."""
    return np.random.RandomState(seed).randint(0, max(n, 1), (draws, n))


def mean_interval(values: np.ndarray, draws: int = DRAWS) -> Estimate:
    """Mean of `values`, (n,), with the 2.5 and 97.5 % quantiles of the resampled means. NaN values are left out."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(float("nan"), float("nan"), float("nan"))
    return _quantiles(values.mean(), values[resamples(len(values), draws)].mean(1))


def ratio_interval(above: np.ndarray, below: np.ndarray, draws: int = DRAWS) -> Estimate:
    """Sum of `above` over sum of `below`, paired: (n,) each."""
    if not len(above):
        return Estimate(float("nan"), float("nan"), float("nan"))
    indices = resamples(len(above), draws)
    return _quantiles(above.sum() / below.sum(), above[indices].sum(1) / below[indices].sum(1))


def statistic_draws(statistic: Callable[[np.ndarray], float], n: int, draws: int) -> np.ndarray:
    """`statistic` of each of the resamples of n pictures, given as indices: (draws,)."""
    return np.array([statistic(indices) for indices in resamples(n, draws)])


def centred_interval(value: float, drawn: np.ndarray) -> Estimate:
    """Interval of a statistic that resampling shifts, as it does distances: `drawn` is moved to have the mean `value`.

    Drawn values that are NaN are left out.
    """
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn) or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"))
    return _quantiles(value, drawn - drawn.mean() + value)


def _quantiles(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))
