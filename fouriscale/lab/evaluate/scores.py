"""From pictures to numbers: each picture's own, and what stored pictures of a method amount to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...maths.sizes import ceil_scale
from ..measure import bootstrap, detail, features, objects, phases, recognition, repetition
from ..measure.bootstrap import Estimate
from ..measure.distance import Frechet, Kernel, standardise
from .methods import BASE_PICTURES, BASE_SIZE, OURS, PLAIN, pixels
from .store import Record, Store
from .true import DISTANCES, knows, true_metrics, true_patches

PICTURE_METRICS = (
    *DISTANCES, "recognised", "probability", "one_object", "objects", "exists", "repetition", "tiles", "slope",
    "laplacian", "phases",
)  # fmt: skip
SET_METRICS = ("frechet", "kernel", "patch_frechet")
SET_DRAWS = 200


def picture_metrics(
    picture: np.ndarray, latents: np.ndarray, alpha: np.ndarray | None, base: int, word: str | None = None
) -> dict[str, float | None]:
    """Values by name, None where undefined. picture: (h, w, 3) in [0, 1]; latents: (4, h/8, w/8); alpha: (h/8, w/8).

    word: what it should show, if the true drawing is known.
    """
    height, width = picture.shape[:2]
    found: dict[str, float | None] = {} if word is None else {**true_metrics(picture, word)}
    if alpha is not None:
        count = objects.count_objects(alpha)
        found |= {"one_object": float(count == 1), "objects": float(count), "exists": float(count > 0)}
    scale = ceil_scale((width, height), (base, base))
    found["repetition"] = repetition.repetition(picture)
    found["tiles"] = repetition.tile_likeness(picture, -(-height // base), -(-width // base))
    found["slope"] = detail.spectral_slope(picture)
    found["laplacian"] = detail.laplacian_variance(picture)
    found["phases"] = phases.phase_disagreement(latents, max(2, scale))
    return {name: None if value is None or np.isnan(value) else value for name, value in found.items()}


def picture_features(picture: np.ndarray, index: int, base: int, known: bool = False) -> dict[str, np.ndarray]:
    """What set metrics rest on. index: where patches lie; base: the model's, in pixels; known: whether the truth is."""
    side = min(features.PATCH, base // 2)
    # A network that tells objects apart learns not to see blur, so random filters look at the detail in any case.
    whole = recognition.structure(picture) if known else features.structure(picture, min(features.SIDE, base))
    return {
        "structure": whole.astype(np.float32),
        "patches": features.patches(picture, index, side).astype(np.float32),
    }


@dataclass
class Result:
    """A method at a size. values, differences: by metric; differences are to FouriScale on the pictures of both."""

    size: str
    method: str
    n: int
    values: dict[str, Estimate] = field(default_factory=dict)
    differences: dict[str, Estimate] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; numbers that are undefined are None."""

        def plain(estimates: dict[str, Estimate]) -> dict[str, list[float | None]]:
            return {k: [None if np.isnan(x) else x for x in e] for k, e in estimates.items()}

        return {"pictures": self.n, "values": plain(self.values), "difference_to_fouriscale": plain(self.differences)}


class Scores:
    """All results that a store's pictures allow."""

    def __init__(self, store: Store):
        self.store = store
        self.base = store.group(BASE_PICTURES, BASE_SIZE)
        self.known = bool(store.run["alpha"]) and knows(store.run["prompts"])
        self._references: dict[tuple[str, str], tuple[np.ndarray, Frechet]] = {}
        self._drawn: dict[tuple[Any, ...], tuple[float, np.ndarray]] = {}

    def results(self, sizes: list[str], methods: list[str]) -> list[Result]:
        """In the order of `sizes` and `methods`, without those that have no picture."""
        found = []
        for size in sizes:
            groups = {m: g for m in methods if (g := self.store.group(m, size))}
            for method, group in groups.items():
                found.append(self._result(size, method, group, groups))
        return found

    def _result(self, size: str, method: str, group: dict[int, Record], groups: dict[str, dict[int, Record]]) -> Result:
        result = Result(size, method, len(group))
        ours = groups.get(OURS, {})
        common = [i for i in group if i in ours] if method != OURS else []
        for name in PICTURE_METRICS:
            values = _values(group, name)
            if np.isnan(values).all():
                continue
            result.values[name] = bootstrap.mean_interval(values)
            if common:
                pairs = _values(group, name, common) - _values(ours, name, common)
                result.differences[name] = bootstrap.mean_interval(pairs)
        for name in SET_METRICS if len(self.base) > 1 else ():
            value, drawn = self._draws(name, method, size, group, list(group))
            result.values[name] = bootstrap.centred_interval(value, drawn)
            if common:
                theirs, mine = (self._draws(name, m, size, groups[m], common) for m in (method, OURS))
                result.differences[name] = bootstrap.centred_interval(theirs[0] - mine[0], theirs[1] - mine[1])
        self._times(result, group, groups.get(PLAIN, {}))
        return result

    def _times(self, result: Result, group: dict[int, Record], plain: dict[int, Record]) -> None:
        result.values["seconds"] = bootstrap.mean_interval(np.array([r.seconds for r in group.values()]))
        common = [i for i in group if i in plain]
        if common and result.method != PLAIN:
            above, below = (np.array([g[i].seconds for i in common]) for g in (group, plain))
            result.values["time_ratio"] = bootstrap.ratio_interval(above, below)

    def _draws(
        self, name: str, method: str, size: str, group: dict[int, Record], indices: list[int]
    ) -> tuple[float, np.ndarray]:
        """A set metric of the pictures at `indices`, and of their resamples, which are the same in each method."""
        key = (name, method, size, tuple(indices))
        if key not in self._drawn:
            chosen = {i: group[i] for i in indices}
            statistic = self._statistic(name, size, chosen)
            everything = statistic(np.arange(len(indices)))
            self._drawn[key] = everything, bootstrap.statistic_draws(statistic, len(indices), SET_DRAWS)
        return self._drawn[key]

    def _statistic(self, name: str, size: str, group: dict[int, Record]) -> Any:
        kind = "patches" if name == "patch_frechet" else "structure"
        reference, frechet = self._reference(kind, size)
        values = self._features(group, kind)
        flat = standardise(reference, values.reshape(-1, values.shape[-1]))[0]
        if name == "kernel":
            return Kernel(standardise(reference, reference)[0], flat)
        grouped = flat.reshape(values.shape)
        return lambda indices: frechet(grouped[indices].reshape(-1, flat.shape[1]))

    def _reference(self, kind: str, size: str) -> tuple[np.ndarray, Frechet]:
        """What sets are compared to, (n, k): base-size pictures, or patches of the true drawings at full size."""
        if (kind, size) not in self._references:
            if kind == "patches" and self.known:
                width, height = pixels(size, self.store.run["base"])
                values = true_patches(width, height, self.store.run["prompts"], len(self.base))
            else:
                values = self._features(self.base, kind)
            flat = values.reshape(-1, values.shape[-1])
            self._references[kind, size] = flat, Frechet(standardise(flat, flat)[0])
        return self._references[kind, size]

    def _features(self, group: dict[int, Record], name: str) -> np.ndarray:
        found = [self.store.arrays(r, name) for r in group.values()]
        return np.stack(found).astype(float) if found else np.empty((0, 1))


def _values(group: dict[int, Record], name: str, indices: list[int] | None = None) -> np.ndarray:
    chosen = list(group) if indices is None else indices
    return np.array([group[i].metrics.get(name) for i in chosen], dtype=float)
