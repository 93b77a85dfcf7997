"""The host's own noise schedule, and what its UNet predicts. A1111's checkpoints hold them, Forge's predictors do.

Nothing of the hosts is imported: they are known by the shape of what they hand over.
"""

from __future__ import annotations

from typing import Any

import torch

from ...errors import SettingsError
from ...maths.noise import NoiseSchedule

# As A1111 and ComfyUI's heirs call them, and Forge.
PREDICTIONS = {"eps": "epsilon", "epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}


def noise_of(sd_model: Any) -> NoiseSchedule | None:
    """The schedule of the host's current model; None where it is not told in a form that is known here."""
    forge = getattr(sd_model, "forge_objects", None)
    if forge is None:
        return _schedule(getattr(sd_model, "alphas_cumprod", None), getattr(sd_model, "parameterization", None))
    model = getattr(getattr(forge, "unet", None), "model", None)
    predictor = getattr(model, "predictor", None)
    if predictor is not None:  # Forge, Forge Neo
        return _schedule(_alphas(predictor), getattr(predictor, "prediction_type", None))
    kind = getattr(getattr(model, "model_type", None), "name", "")  # reForge, Forge Classic: ComfyUI's model
    return _schedule(_alphas(getattr(model, "model_sampling", None)), str(kind).lower())


def _alphas(owner: Any) -> torch.Tensor | None:
    """ᾱ by timestep from a table of sigmas, one a timestep, with the latent's signal taken as 1."""
    sigmas = getattr(owner, "sigmas", None)
    return 1.0 / (1.0 + sigmas.detach().double() ** 2) if isinstance(sigmas, torch.Tensor) else None


def _schedule(alphas: Any, prediction: Any) -> NoiseSchedule | None:
    known = PREDICTIONS.get(prediction) if isinstance(prediction, str) else None
    if known is None or not isinstance(alphas, torch.Tensor):
        return None
    try:
        return NoiseSchedule(alphas, known)
    except SettingsError:  # not one number between 0 and 1 for each timestep
        return None
