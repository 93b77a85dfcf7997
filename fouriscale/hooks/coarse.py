"""Coarse start: a UNet call at full size answered by the UNet at a smaller one, sample by sample.

Every so-many-th sample of a noisy latent is a noisy latent of the smaller size with the same noise level, so the UNet
is called at the same timestep. Its prediction gives the clean latent there, which is enlarged; from that and the host's
own latent follows the prediction at full size. At the sampled points it is the small UNet's own, whatever the sampler.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..filters.samples import SampleGrid
from ..maths.noise import NoiseSchedule
from .arguments import latent_of, timestep_of
from .call import Cells
from .rows import map_tensors_if

LATENT_CHANNELS = 4  # of the prediction; inpainting models are given more
# Arguments that never have the picture's size, whatever numbers their shapes happen to hold.
LEFT = frozenset({"encoder_hidden_states", "context", "y", "added_cond_kwargs", "transformer_options", "timesteps",
                  "timestep", "class_labels"})  # fmt: skip


class CoarseStart:
    """The coarse start of one session. noise: the model's schedule; None: Stable Diffusion's own is assumed.

    levels: resolutions of the UNet. predicts: False for a ControlNet, whose residuals stay at the small size. wraps:
    whether the picture's borders meet, as in seamless tiling.
    """

    def __init__(self, noise: NoiseSchedule | None, levels: int, predicts: bool = True, wraps: bool = False):
        self._levels, self._predicts = levels, predicts
        self.noise = noise or NoiseSchedule.stable_diffusion()
        self._wraps = wraps
        self._grids: dict[tuple[Cells, Cells, torch.device], SampleGrid] = {}
        self._under_way: tuple[SampleGrid, torch.Tensor, torch.Tensor] | None = None

    def enter(self, coarse: Cells, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The arguments of the small call: what has the picture's size, at any of the UNet's levels, is sampled."""
        latent = latent_of(args, kwargs)
        full = (latent.shape[-2], latent.shape[-1])
        timestep = torch.as_tensor(timestep_of(args, kwargs), device=latent.device)
        self._under_way = self._grid(full, coarse, latent.device), latent[:, :LATENT_CHANNELS], timestep
        return (
            tuple(self._sampled(value, full, coarse) for value in args),
            {k: value if k in LEFT else self._sampled(value, full, coarse) for k, value in kwargs.items()},
        )

    def leave(self, output: Any) -> Any:
        """The prediction at full size from the small call's output, (rows, 4, h, w) in whatever record it comes."""
        assert self._under_way is not None
        if not self._predicts:
            return output
        grid, latent, timestep = self._under_way

        def enlarged(predicted: torch.Tensor) -> torch.Tensor:
            clean = self.noise.clean(grid.sample(latent), predicted, timestep)
            return self.noise.predicted(latent, grid.enlarge(clean), timestep).to(predicted.dtype)

        return map_tensors_if(output, lambda x: _is_map(x) and _cells(x) == grid.coarse, enlarged)

    def forget(self) -> None:
        """No small call is under way."""
        self._under_way = None

    def _grid(self, full: Cells, coarse: Cells, device: torch.device) -> SampleGrid:
        key = (full, coarse, device)
        if key not in self._grids:
            self._grids[key] = SampleGrid(full, coarse, device, self._wraps)
        return self._grids[key]

    def _sampled(self, value: Any, full: Cells, coarse: Cells) -> Any:
        """`value` with the samples of every tensor that has the picture's size at one of the UNet's levels.

        Residuals that a ControlNet made at the small size stay: of several, the first level's would be among them.
        """
        sizes = {_halved(full, level): _halved(coarse, level) for level in range(self._levels)}
        found: set[Cells] = set()
        map_tensors_if(value, _is_map, lambda x: found.add(_cells(x)) or x)  # type: ignore[func-returns-value]
        if len(found) > 1 and full not in found:
            return value

        def sampled(x: torch.Tensor) -> torch.Tensor:
            size = _cells(x)
            if not self._predicts and size == (8 * full[0], 8 * full[1]):  # the picture that a ControlNet follows
                return F.interpolate(x, (8 * coarse[0], 8 * coarse[1]), mode="area")
            return self._grid(size, sizes[size], x.device).sample(x) if size in sizes else x

        return map_tensors_if(value, _is_map, sampled)


def wraps(unet: torch.nn.Module) -> bool:
    """Whether the picture's borders meet: hosts that make seamless tiles let every convolution pad circularly."""
    return any(isinstance(m, torch.nn.Conv2d) and m.padding_mode == "circular" for m in unet.modules())


def _is_map(x: torch.Tensor) -> bool:
    return x.ndim == 4


def _cells(x: torch.Tensor) -> Cells:
    return x.shape[-2], x.shape[-1]


def _halved(cells: Cells, times: int) -> Cells:
    """What the UNet's downsampling by 2 makes of a size, rounding up, `times` times."""
    height, width = cells
    for _ in range(times):
        height, width = -(-height // 2), -(-width // 2)
    return height, width
