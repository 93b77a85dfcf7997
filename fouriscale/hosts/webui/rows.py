"""A1111, Forge and reForge: which UNet, which rows are cond, and what else in a UNet call counts rows.

Nothing of the hosts is imported: they are known by the shape of what they hand over.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...errors import UnsupportedModelError
from ...hooks.adapter import CallAdapter, Labelled
from ...hooks.arguments import latent_of
from ...hooks.rows import Samples
from ...maths.sizes import Size
from ...unet.compiled import is_compiled

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


def refuse_compiled_host(sd_model: Any) -> None:
    """Raise UnsupportedModelError where the host will exchange the UNet for a compiled one inside each call.

    Forge Neo keeps a configuration of torch.compile beside the model; ComfyUI's patcher, and reForge's, the object
    that takes the UNet's place.
    """
    patcher = getattr(getattr(sd_model, "forge_objects", None), "unet", None)
    model = getattr(patcher, "model", None)
    replaced = getattr(patcher, "object_patches", None) or {}
    if getattr(model, "_torch_compile_config", None) is not None or is_compiled(replaced.get("diffusion_model")):
        raise UnsupportedModelError("the host compiles the UNet with torch.compile, which ignores hooks; switch it off")


def and_parts(denoiser: Any) -> tuple[int, ...] | None:
    """Of how many AND parts each picture's prompt is, from the prompts that the host's denoiser works with.

    None where the denoiser keeps none, or keeps them in another form.
    """
    arguments = getattr(getattr(denoiser, "sampler", None), "sampler_extra_args", None)
    batch = getattr(arguments.get("cond"), "batch", None) if isinstance(arguments, dict) else None
    if not isinstance(batch, list | tuple) or not all(isinstance(parts, list | tuple) for parts in batch):
        return None
    return tuple(len(parts) for parts in batch)


class WebuiRows(CallAdapter):
    """Counts the rows of one denoiser call, so that the extra calls of SAG, PAG and the like get no weak rows.

    base: where SDXL's size conditioning is overridden, the size that it is told, in pixels. say: called with a sentence
    when a UNet call has more rows than were announced, as tiled sampling does; such rows get none either.
    """

    def __init__(self, base: Size | None = None, say: Callable[[str], None] | None = None):
        self._base, self._say = base, say
        self._cond, self._total = 0, 0
        self._cond_left: int | None = None
        self._parts: tuple[int, ...] | None = None

    def start(self, cond_rows: int, total_rows: int, parts: Sequence[int] | None = None) -> None:
        """A denoiser call begins, with so many cond rows of so many rows in all.

        parts: of how many AND parts each picture's prompt is, as `and_parts` reads it; None: not known.
        """
        self._cond, self._total = cond_rows, total_rows
        self._cond_left = cond_rows
        self._parts = tuple(parts) if parts and min(parts) > 0 and sum(parts) == cond_rows else None

    def before(self, session: Labelled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Label the rows of this UNet call."""
        latent = latent_of(args, kwargs)
        if not session.is_planned(latent):  # left plain; none of the rows that were announced
            session.label(None)
            return args, kwargs
        rows = len(latent)
        labels, samples = self._labels(rows, kwargs)
        if labels is not None and self._cond_left is not None:
            cond = labels.count("cond") * (rows // len(labels))
            if cond > self._cond_left:
                labels = None
                self._check(cond, self._cond)
            else:
                self._cond_left -= cond
        # Guidance needs all rows of a sample at once: with some of them elsewhere, it would be another one.
        session.label(labels, (None,) * rows if samples is None else samples)
        if self._base is not None and isinstance(kwargs.get("y"), torch.Tensor):
            kwargs = {**kwargs, "y": with_size(kwargs["y"], self._base)}
        return args, kwargs

    def _labels(self, rows: int, kwargs: dict[str, Any]) -> tuple[tuple[str, ...] | None, Samples | None]:
        """The labels of equal chunks of this call's rows, and the sample of each row; None where not known."""
        raise NotImplementedError

    def _check(self, rows: int, announced: int) -> None:
        if rows > announced > 0 and self._say is not None:
            self._say("left the guidance out: the UNet was called with more rows than announced, as in tiled sampling")


class A1111Rows(WebuiRows):
    """A1111: the denoiser callback says how many cond rows come first; UNet calls take the labels in that order."""

    def __init__(self, base: Size | None = None, say: Callable[[str], None] | None = None):
        super().__init__(base, say)
        self._queue: list[tuple[str, int | None]] = []
        self._sizes: Counter[int | None] = Counter()  # rows of each sample in the whole denoiser call

    def start(self, cond_rows: int, total_rows: int, parts: Sequence[int] | None = None) -> None:
        """Cond rows first, sample by sample with all AND parts, then uncond rows, whatever the split into calls."""
        super().start(cond_rows, total_rows, parts)
        uncond_rows = total_rows - cond_rows
        if parts is None and cond_rows == uncond_rows:
            self._parts = (1,) * cond_rows  # as every picture has at least one
        samples: list[int | None] = [None] * total_rows
        if self._parts is not None and len(self._parts) == uncond_rows:
            samples = [sample for sample, count in enumerate(self._parts) for _ in range(count)] + [*range(uncond_rows)]
        self._queue = list(zip(["cond"] * cond_rows + ["uncond"] * uncond_rows, samples, strict=True))
        self._sizes = Counter(sample for _, sample in self._queue)

    def _labels(self, rows: int, kwargs: dict[str, Any]) -> tuple[tuple[str, ...] | None, Samples | None]:
        # More rows than are left: a call that the denoiser did not announce (tiles of MultiDiffusion, guidance
        # extensions). Their order is not known, so no row gets a weak row.
        if rows > len(self._queue):
            self._check(rows, self._total)
            return None, None
        taken, self._queue = self._queue[:rows], self._queue[rows:]
        here = Counter(sample for _, sample in taken)
        samples = tuple(sample if here[sample] == self._sizes[sample] else None for _, sample in taken)
        return tuple(label for label, _ in taken), samples


class ForgeRows(WebuiRows):
    """Forge and its kin say in every call what its chunks are."""

    def _labels(self, rows: int, kwargs: dict[str, Any]) -> tuple[tuple[str, ...] | None, Samples | None]:
        marks = (kwargs.get("transformer_options") or {}).get("cond_or_uncond")
        if not marks or rows % len(marks):
            return None, None
        labels = tuple("cond" if mark == FORGE_COND else "uncond" for mark in marks)
        # Each chunk is the whole batch of pictures. Of AND prompts of unequal length, Forge leaves out what is over.
        chunk = rows // len(marks)
        announced = self._cond if self._parts is None else min(self._parts) * len(self._parts)
        whole = labels.count("cond") * chunk == announced
        return labels, tuple(range(chunk)) * len(marks) if whole else None

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
