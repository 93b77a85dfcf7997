"""Settings + UNet structure + picture size → a frozen plan. Pure: the same in gives the same out."""

from __future__ import annotations

import dataclasses

import torch

from ..filters.freeu import PUBLISHED, FreeU
from ..maths import sizes
from ..maths.sizes import Size
from ..methods import method_class
from ..settings.settings import Settings
from ..unet.structure import Structure, blueprint_structure, describe
from .coarse import stages
from .cost import run_cost
from .frame import frame_of, nothing_to_do
from .plans import Plan


def plan(unet: torch.nn.Module, width: int, height: int, settings: Settings | None = None) -> Plan:
    """Plan for `unet` at width × height pixels.

    Raises UnsupportedModelError for a module that is no SD 1.x, 2.x or XL UNet, SettingsError for settings or
    a size that do not fit it.
    """
    return plan_structure(describe(unet), width, height, settings)


def plan_family(family: str, width: int, height: int, settings: Settings | None = None) -> Plan:
    """Plan without a model in memory, for the published UNet of `family`."""
    return plan_structure(blueprint_structure(family), width, height, settings)


def plan_structure(structure: Structure, width: int, height: int, settings: Settings | None = None) -> Plan:
    """Plan for a UNet whose structure is known. Raises as `plan` does."""
    settings = settings or Settings()
    sizes.check_picture_size(width, height)
    made = _at(structure, (width, height), settings)
    if made.reason is None and settings.coarse:
        held = settings.replace(coarse=0.0, start=1.0, stop=1.0)
        # The smaller sizes are whole latent cells, but need not be sizes that a user could ask for.
        found = stages(made.size, made.base, settings.coarse, lambda size: _at(structure, size, held))
        made = dataclasses.replace(made, stages=found)
    return made if made.reason is not None else dataclasses.replace(made, cost=run_cost(structure.blueprint, made))


def _at(structure: Structure, size: Size, settings: Settings) -> Plan:
    """The plan of one size: without a coarse start, its cost not yet estimated."""
    family = structure.family if settings.family == "auto" else settings.family
    frame = frame_of(structure, family, size, settings)
    method = method_class(settings.method).decide(frame, settings)
    reason = nothing_to_do(frame, settings) or method.reason
    shared = structure.before(method.layers[0].name) if method.layers else ()
    return Plan(
        settings, family, size, method, shared, structure.attention, _freeu(settings, family), structure.up_resnets,
        1.0, reason, levels=len(structure.blueprint.channels),
    )  # fmt: skip


def _freeu(settings: Settings, family: str) -> FreeU | None:
    if isinstance(settings.freeu, tuple):
        return FreeU(*settings.freeu)
    return PUBLISHED[family] if settings.freeu else None
