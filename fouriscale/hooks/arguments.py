"""The arguments of a UNet call, in diffusers' and in ldm's naming."""

from __future__ import annotations

from typing import Any

import torch


def latent_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """The latent (rows, channels, height, width)."""
    latent: torch.Tensor = args[0] if args else kwargs["sample"] if "sample" in kwargs else kwargs["x"]
    return latent


def timestep_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The timestep, a tensor or a number."""
    return args[1] if len(args) > 1 else kwargs["timestep"] if "timestep" in kwargs else kwargs["timesteps"]
