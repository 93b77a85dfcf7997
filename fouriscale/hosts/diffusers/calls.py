"""What a diffusers pipeline knows of a UNet call: rows, step, the size that SDXL is told, the noise schedule."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from ...errors import SettingsError
from ...hooks.adapter import Labelled
from ...hooks.arguments import timestep_of
from ...maths.noise import PREDICTIONS, NoiseSchedule
from ...maths.sizes import Size
from .attention import DiffusersCalls

TIME_IDS = "time_ids"  # of SDXL: original height and width, crop's top and left, target height and width


class PipelineCalls(DiffusersCalls):
    """Reads rows and steps of each call from the pipeline's own state, so that nobody has to say them.

    base: (width, height) in pixels that SDXL is told for all rows in place of the picture's, as in the authors' runs.
    labels: False for a ControlNet, whose rows need none.
    """

    def __init__(self, pipe: Any, base: Size, labels: bool = True):
        self._pipe, self._base, self._labels = pipe, base, labels
        self._step: int | None = None

    def before(self, session: Labelled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Label the rows, count the step, tell SDXL the base size."""
        if self._labels:
            # The pipeline puts uncond rows first. Guidance-distilled UNets are told the scale and have no such rows.
            session.label(("uncond", "cond") if self._pipe.do_classifier_free_guidance else ("cond",))
        session.progress = self._counted(timestep_of(args, kwargs))
        added = kwargs.get("added_cond_kwargs")
        if added and TIME_IDS in added:
            kwargs = {**kwargs, "added_cond_kwargs": {**added, TIME_IDS: self._told(added[TIME_IDS])}}
        return args, kwargs

    def not_coarse(self, unet: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """A UNet that accelerate moves to the device for each call is still only a UNet."""
        return "" if hasattr(unet, "_hf_hook") else super().not_coarse(unet, args, kwargs)

    def _told(self, ids: torch.Tensor) -> torch.Tensor:
        """`ids`, (rows, 6), or (rows, 5) of the refiner, whose last is a score, with the base size and no crop."""
        width, height = self._base
        told = [height, width, 0, 0, height, width]
        changed = ids.clone()
        sizes = 4 if ids.shape[-1] == 5 else min(ids.shape[-1], len(told))
        changed[:, :sizes] = torch.tensor(told[:sizes], dtype=ids.dtype, device=ids.device)
        return changed

    def _counted(self, timestep: Any) -> tuple[int, int] | None:
        """(step, steps) in a run that begins with the first timestep, by a scheduler that calls the UNet once a step.

        Otherwise None: timesteps tell how far an image-to-image run is, and those that call it more often.
        """
        scheduler = self._pipe.scheduler
        if scheduler.order != 1 or isinstance(scheduler, diffusers.PNDMScheduler):
            return None
        steps = torch.as_tensor(scheduler.timesteps).tolist()
        now = float(torch.as_tensor(timestep).flatten()[0])
        # The next step, the same once more, or the first of another run. Neighbours may share a timestep.
        after = [] if self._step is None else [self._step + 1, self._step]
        self._step = next((i for i in (*after, 0) if i < len(steps) and steps[i] == now), None)
        return None if self._step is None else (self._step, len(steps))


def noise_of(scheduler: Any) -> NoiseSchedule:
    """The model's noise schedule and kind of prediction, as its scheduler has them.

    Raises SettingsError where the coarse start cannot compute with them.
    """
    prediction = scheduler.config.get("prediction_type", "epsilon")
    known = hasattr(scheduler, "alphas_cumprod") and scheduler.config.get("timestep_type") != "continuous"
    if prediction not in PREDICTIONS or not known:
        told = f"the {type(scheduler).__name__} of a model that predicts {prediction!r}"
        raise SettingsError("coarse", told, "0, or a scheduler with timesteps for predicted noise or v")
    return NoiseSchedule(scheduler.alphas_cumprod, prediction)
