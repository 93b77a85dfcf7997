"""Tiled decoding that gives what an untiled decode gives.

The only parts of a decoder that look at the whole picture are its GroupNorms and the attention at latent resolution. So
the statistics of each GroupNorm are taken over all tiles, each pixel counted once, and then the layer is a fixed scale
and shift; what is left are convolutions, whose tiles need a margin of a pixel each. There is no blending and no seam.

Between two GroupNorms the tiles are computed from the last activation that is kept. What is too large to be kept, at
the picture's own resolution, is computed again for each GroupNorm: memory is bounded, and time is what it costs.
"""

from __future__ import annotations

import os
from itertools import pairwise
from math import prod
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingsError, UnsupportedModelError
from .steps import Affine, State, Step, free_memory, steps_of, working_dtype

TILE = 64  # latent pixels
MEMORY = 4 * 2**30  # bytes of activations that are kept where nothing is known about the machine
Box = tuple[int, int, int, int]  # top, bottom, left, right


class Moments:
    """Mean and variance per picture and group, over parts that come one after the other. In float64."""

    def __init__(self, norm: nn.GroupNorm):
        self._norm = norm
        self._count, self._mean, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Take in x, (n, channels, h, w)."""
        rows = x.to(working_dtype(x)).reshape(x.shape[0], self._norm.num_groups, -1)
        variance, mean = torch.var_mean(rows, dim=2, correction=0)
        mean, squares, count = mean.cpu().double(), variance.cpu().double() * rows.shape[2], rows.shape[2]
        total = self._count + count
        delta = mean - self._mean
        self._squares = self._squares + squares + delta**2 * (self._count * count / total)
        self._mean = self._mean + delta * (count / total)
        self._count = total

    def affine(self, like: Tensor) -> Affine:
        """What the GroupNorm does: x · scale + shift."""
        norm = self._norm
        size = norm.num_channels // norm.num_groups
        scale = (self._squares / self._count + norm.eps).rsqrt().repeat_interleave(size, dim=1)
        shift = -self._mean.repeat_interleave(size, dim=1) * scale
        if norm.affine:
            weight, bias = norm.weight.detach().cpu().double(), norm.bias.detach().cpu().double()
            scale, shift = scale * weight, shift * weight + bias
        dtype = working_dtype(like)
        return scale[..., None, None].to(dtype).to(like.device), shift[..., None, None].to(dtype).to(like.device)


class _Run:
    """One decode: the activation that is kept, its scale relative to the latent, and the steps taken since."""

    def __init__(self, first: Tensor, tile: int, memory: int):
        self._state: State = (first,)
        self._boxes = _boxes(first.shape[2], first.shape[3], tile)
        self._memory = memory
        self._scale = 1
        self._pending: list[tuple[Step, Affine | None]] = []

    def take(self, step: Step) -> None:
        """One step further."""
        if step.whole or step.factor > 1:
            self.settle()  # before it becomes four times as large
        if step.whole:
            self._state = step.run(self._state, None)
            return
        affine = None if step.norm is None else self._measure(step.norm)
        self._pending.append((step, affine))

    def settle(self) -> Tensor:
        """Compute all tiles and keep the result."""
        if self._pending:
            self._sweep(None, keep=True)
        return self._state[0]

    def _measure(self, norm: nn.GroupNorm) -> Affine:
        moments = Moments(norm)
        self._sweep(moments, keep=False)
        return moments.affine(self._state[0])

    def _sweep(self, moments: Moments | None, keep: bool) -> None:
        """Compute all tiles: for the statistics, and to keep them, on demand or where there is room."""
        factor = prod(step.factor for step, _ in self._pending)
        kept: Tensor | None = None
        for i, box in enumerate(self._boxes):
            tile = self._tile(box, factor)
            if moments is not None:
                moments.add(tile[0])
            if i == 0 and (keep or self._has_room(tile, factor)):
                kept = tile[0].new_empty(tile[0].shape[:2] + self._whole(factor))
            if kept is not None:
                top, bottom, left, right = (side * self._scale * factor for side in box)
                kept[:, :, top:bottom, left:right] = tile[0]
        if kept is not None:
            # Inside a residual block, what was kept before is the block's input.
            self._state = (kept, *self._state) if len(tile) == 2 else (kept,)
            self._scale *= factor
            self._pending = []

    def _whole(self, factor: int) -> tuple[int, int]:
        height, width = self._state[0].shape[2:]
        return height * factor, width * factor

    def _has_room(self, tile: State, factor: int) -> bool:
        if not self._pending or (len(tile) == 2 and len(self._pending) != 1):
            return False  # there is nothing new, or the block's input would have to be kept too
        new = tile[0].shape[0] * tile[0].shape[1] * prod(self._whole(factor))
        return (sum(kept.numel() for kept in self._state) + new) * tile[0].element_size() <= self._memory

    def _tile(self, box: Box, factor: int) -> State:
        """The pending steps on one tile, from a part of the kept activation that is larger by a margin."""
        margin = 0
        for step, _ in reversed(self._pending):
            margin = -(-(margin + step.reach) // step.factor)
        height, width = self._state[0].shape[2:]
        top, bottom, left, right = (side * self._scale for side in box)
        above, before = min(margin, top), min(margin, left)
        rows = slice(top - above, min(bottom + margin, height))
        columns = slice(left - before, min(right + margin, width))
        tile = tuple(kept[:, :, rows, columns] for kept in self._state)
        for step, affine in self._pending:
            tile = step.run(tile, affine)
        rows = slice(above * factor, (above + bottom - top) * factor)
        columns = slice(before * factor, (before + right - left) * factor)
        return tuple(part[:, :, rows, columns] for part in tile)


@torch.no_grad()
def decode_tiled(decoder: nn.Module, latents: Tensor, tile: int = TILE, memory: int | None = None) -> Tensor:
    """What ``decoder(latents)`` gives, up to rounding, in bounded memory.

    decoder: of diffusers' AutoencoderKL, or of an ldm first stage model. latents: (n, c, h, w), as the decoder wants
    them, behind `post_quant_conv`. tile: side of the tiles, latent pixels. memory: bytes of activations that may be
    kept, besides the last one before each enlargement, which always is; less memory means more computing. None: half of
    what is free on CUDA, else a quarter of the machine's memory, or 4 GiB. Returns (n, channels, 8 h, 8 w). The idea of
    pooled statistics is FouriScale's (`--vae_tiling`).
    Raises UnsupportedModelError for other decoders, before anything is computed, and SettingsError.
    """
    if tile < 1:
        raise SettingsError("tile", tile, "a whole number of latent pixels from 1")
    steps = steps_of(decoder)
    memory = _room(latents.device) if memory is None else memory
    return torch.cat([_decode_one(decoder, steps, one, tile, memory) for one in latents.split(1)])


def _decode_one(decoder: Any, steps: list[Step], latent: Tensor, tile: int, memory: int) -> Tensor:
    run = _Run(decoder.conv_in(latent), tile, memory)
    for step in steps:
        run.take(step)
    return run.settle()


class TiledDecoder:
    """Makes `decoder` decode in tiles, from latents of `smallest` pixels (longer side) on, until `remove`.

    Use it as a context manager, or call `attach` and `remove`. Raises UnsupportedModelError when attached to a decoder
    that it does not know, or whose forward someone else has replaced.
    """

    def __init__(self, decoder: nn.Module, smallest: int = 0, tile: int = TILE, memory: int | None = None):
        self._decoder, self._smallest, self._tile, self._memory = decoder, smallest, tile, memory
        self._original: Any = None

    def attach(self) -> TiledDecoder:
        """Replace the decoder's forward, once."""
        if tiles_on(self._decoder) is self:
            return self
        if "forward" in vars(self._decoder):
            raise UnsupportedModelError("the decoder's forward is replaced already, by tiling of another make perhaps")
        steps_of(self._decoder)
        self._original = self._decoder.forward
        self._decoder.forward = self._forward
        return self

    def remove(self) -> None:
        """Put the decoder's own forward back. Safe to call twice, and at any time."""
        if vars(self._decoder).get("forward") == self._forward:
            del self._decoder.forward
        self._smallest = 2**31  # another extension may have kept our forward to call or restore it

    def _forward(self, latents: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        extra = [*args, *kwargs.values()]
        if max(latents.shape[-2:]) < self._smallest or any(value is not None for value in extra):
            return self._original(latents, *args, **kwargs)
        return decode_tiled(self._decoder, latents, self._tile, self._memory)

    def __enter__(self) -> TiledDecoder:
        return self.attach()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def tiles_on(decoder: nn.Module) -> TiledDecoder | None:
    """The TiledDecoder that is attached to `decoder` now, found by looking at the forward itself."""
    owner = getattr(vars(decoder).get("forward"), "__self__", None)
    return owner if isinstance(owner, TiledDecoder) else None


def _boxes(height: int, width: int, tile: int) -> list[Box]:
    """Tiles of nearly equal size that cover the picture once."""

    def cuts(length: int) -> list[tuple[int, int]]:
        number = -(-length // tile)
        edges = [i * length // number for i in range(number + 1)]
        return list(pairwise(edges))

    return [(*rows, *columns) for rows in cuts(height) for columns in cuts(width)]


def _room(device: torch.device) -> int:
    if device.type == "cuda":
        return free_memory(device) // 2
    try:
        return max(MEMORY, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
    except (AttributeError, ValueError, OSError):  # no such thing on Windows
        return MEMORY
