"""A1111, Forge and reForge: which UNet, which rows are cond, and what else in a UNet call counts rows.

Nothing of the hosts is imported: they are known by the shape of what they hand over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..adapter import CallAdapter
from ..errors import UnsupportedModelError
from ..maths.sizes import Size
from ..session import Session

FORGE_COND = 0  # in transformer_options["cond_or_uncond"]
PATCHES = ("patches", "patches_replace", "block_modifiers", "block_inner_modifiers", "group_norm_wrapper")
TIME_ID_WIDTH = 256  # SDXL embeds each number of its size conditioning in this many values
POOLED_WIDTH = 1280


def find_unet(sd_model: Any) -> torch.nn.Module:
    """The UNet that sampling calls. Raises UnsupportedModelError for models that have none (SD3, Flux …)."""
    forge = getattr(sd_model, "forge_objects", None)
    if forge is not None:
        owner = getattr(getattr(forge, "unet", None), "model", None)
    else:
        owner = getattr(sd_model, "model", None)
    unet = getattr(owner, "diffusion_model", None)
    if not isinstance(unet, torch.nn.Module):
        raise UnsupportedModelError(f"{type(sd_model).__name__} has no UNet of Stable Diffusion 1.x, 2.x or XL")
    return unet


def is_forge(sd_model: Any) -> bool:
    """True on Forge, reForge and Forge Classic."""
    return hasattr(sd_model, "forge_objects")


class WebuiRows(CallAdapter):
    """Counts the cond rows of one denoiser call, so that the extra calls of SAG, PAG and the like get no twins.

    base: where SDXL's size conditioning is overridden, the size that it is told, in pixels. say: called with a sentence
    when a UNet call has more rows than were announced, as tiled sampling does; such rows get no twins either.
    """

    def __init__(self, base: Size | None = None, say: Callable[[str], None] | None = None):
        self._base, self._say = base, say
        self._cond, self._total = 0, 0
        self._cond_left: int | None = None

    def start(self, cond_rows: int, total_rows: int) -> None:
        """A denoiser call begins, with so many cond rows of so many rows in all."""
        self._cond, self._total = cond_rows, total_rows
        self._cond_left = cond_rows

    def before(self, session: Session, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Label the rows of this UNet call."""
        rows = len(args[0] if args else kwargs["x"])
        labels = self._labels(rows, kwargs)
        if labels is not None and self._cond_left is not None:
            cond = labels.count("cond") * (rows // len(labels))
            if cond > self._cond_left:
                labels = None
                self._check(cond, self._cond)
            else:
                self._cond_left -= cond
        session.rows = labels
        if self._base is not None and isinstance(kwargs.get("y"), torch.Tensor):
            kwargs = {**kwargs, "y": with_size(kwargs["y"], self._base)}
        return args, kwargs

    def _labels(self, rows: int, kwargs: dict[str, Any]) -> tuple[str, ...] | None:
        raise NotImplementedError

    def _check(self, rows: int, announced: int) -> None:
        if rows > announced > 0 and self._say is not None:
            self._say("left the guidance out: the UNet was called with more rows than announced, as in tiled sampling")


class A1111Rows(WebuiRows):
    """A1111: the denoiser callback says how many cond rows come first; UNet calls take the labels in that order."""

    def __init__(self, base: Size | None = None, say: Callable[[str], None] | None = None):
        super().__init__(base, say)
        self._queue: list[str] = []

    def start(self, cond_rows: int, total_rows: int) -> None:
        """Cond rows first, sample by sample, then uncond rows, whatever the split into calls."""
        super().start(cond_rows, total_rows)
        self._queue = ["cond"] * cond_rows + ["uncond"] * (total_rows - cond_rows)

    def _labels(self, rows: int, kwargs: dict[str, Any]) -> tuple[str, ...] | None:
        # More rows than are left: a call that the denoiser did not announce (tiles of MultiDiffusion, guidance
        # extensions). Their order is not known, so no row gets a twin.
        if rows > len(self._queue):
            self._check(rows, self._total)
            return None
        taken, self._queue = self._queue[:rows], self._queue[rows:]
        return tuple(taken)


class ForgeRows(WebuiRows):
    """Forge and its kin say in every call what its chunks are."""

    def _labels(self, rows: int, kwargs: dict[str, Any]) -> tuple[str, ...] | None:
        marks = (kwargs.get("transformer_options") or {}).get("cond_or_uncond")
        if not marks or rows % len(marks):
            return None
        return tuple("cond" if mark == FORGE_COND else "uncond" for mark in marks)

    def may_share_stages(self, kwargs: dict[str, Any]) -> bool:
        """Not where another extension patches blocks: its patch would find fewer rows than are announced."""
        options = kwargs.get("transformer_options") or {}
        return not any(options.get(key) for key in PATCHES)

    def one_kind_per_call(self, kwargs: dict[str, Any]) -> bool:
        """Where self-attention is replaced throughout (style alignment, reference).

        Such code joins all cond rows for each mark in `cond_or_uncond`, so a mark must not be there twice.
        """
        options = kwargs.get("transformer_options") or {}
        return len((options.get("patches_replace") or {}).get("attn1") or ()) > 1

    def regrouped(
        self, batch: int, origin: Sequence[int], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Say of every row what the row it was made from is, in everything that counts rows."""
        options = kwargs.get("transformer_options")
        if not isinstance(options, dict) or not options.get("cond_or_uncond"):
            return args, kwargs
        options = dict(options)
        chunk = batch // len(options["cond_or_uncond"])
        marks = [options["cond_or_uncond"][row // chunk] for row in origin]
        options["cond_or_uncond"] = marks[::chunk] if len(set(marks)) > 1 else marks[:1]
        for key, wanted in (("cond_indices", True), ("uncond_indices", False)):
            if key in options:
                options[key] = [i for i, mark in enumerate(marks) if (mark == FORGE_COND) is wanted]
        return args, {**kwargs, "transformer_options": options}


def with_size(y: torch.Tensor, base: Size) -> torch.Tensor:
    """SDXL's vector condition (rows, 1280 + 256·n) with original and target size = `base` and crop (0, 0).

    The refiner's vector (n = 5) keeps its last number, the aesthetic score.
    """
    numbers = (y.shape[1] - POOLED_WIDTH) // TIME_ID_WIDTH
    if numbers not in (5, 6) or y.shape[1] != POOLED_WIDTH + numbers * TIME_ID_WIDTH:
        return y
    width, height = base
    values = [height, width, 0, 0, height, width][: 6 if numbers == 6 else 4]
    half = TIME_ID_WIDTH // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
    angles = torch.tensor(values, dtype=torch.float32)[:, None] * frequencies
    embedded = torch.cat((angles.cos(), angles.sin()), dim=1).flatten().to(y)
    changed = y.clone()
    changed[:, POOLED_WIDTH : POOLED_WIDTH + len(embedded)] = embedded
    return changed
