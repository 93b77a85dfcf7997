"""How far two sets of feature vectors are apart: Fréchet's distance of Gaussians, and a kernel's."""

from __future__ import annotations

import numpy as np


def standardise(reference: np.ndarray, *sets: np.ndarray) -> list[np.ndarray]:
    """`sets`, (n, k) each, in units of the reference's standard deviations, dimension by dimension, about its mean."""
    spread = reference.std(0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    return [(x - reference.mean(0)) / spread for x in sets]


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """`|μa − μb|² + tr(Ca + Cb − 2 (Ca Cb)^½)` of the Gaussians fitted to two sets, (n, k) and (m, k).

    Squared, as FID is. NaN for a set of fewer than two. Too high for small sets, so that only sets of one size compare.
    """
    return Frechet(b)(a)


class Frechet:
    """`frechet_distance` to a fixed reference set, whose matrix root is taken once."""

    def __init__(self, reference: np.ndarray):
        self.enough = len(reference) > 1
        if self.enough:
            self.mean, self.covariance = reference.mean(0), np.atleast_2d(np.cov(reference.T))
            values, vectors = np.linalg.eigh(self.covariance)
            self.root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T

    def __call__(self, x: np.ndarray) -> float:
        if not self.enough or len(x) < 2:
            return float("nan")
        covariance = np.atleast_2d(np.cov(x.T))
        # (Ca Cb)^½ has the trace of (Cb^½ Ca Cb^½)^½, which is symmetric.
        common = np.linalg.eigvalsh(self.root @ covariance @ self.root)
        trace = np.trace(covariance) + np.trace(self.covariance) - 2 * np.sqrt(np.clip(common, 0.0, None)).sum()
        return float(((x.mean(0) - self.mean) ** 2).sum() + trace)


class Kernel:
    """Squared maximum mean discrepancy of a set (n, k) to a reference (m, k), with the kernel `(x·y / k + 1)³`.

    Unbiased: pairs of a vector with itself are left out, so that it is about 0, and may be below, for equal sources.
    """

    def __init__(self, reference: np.ndarray, x: np.ndarray):
        k = x.shape[1]
        self.own, self.cross = (x @ x.T / k + 1) ** 3, ((x @ reference.T / k + 1) ** 3).mean(1)
        gram = (reference @ reference.T / k + 1) ** 3
        m = len(reference)
        self.theirs = (gram.sum() - np.trace(gram)) / (m * (m - 1)) if m > 1 else float("nan")

    def __call__(self, indices: np.ndarray | None = None) -> float:
        """The distance of the whole set, or of those of its vectors that `indices` names, some of them repeatedly."""
        n = len(self.cross)
        weights = np.ones(n) if indices is None else np.bincount(indices, minlength=n).astype(float)
        pairs = weights.sum() ** 2 - (weights**2).sum()
        if pairs <= 0:
            return float("nan")
        own = (weights @ self.own @ weights - weights**2 @ np.diag(self.own)) / pairs
        return float(own + self.theirs - 2 * (weights @ self.cross) / weights.sum())
