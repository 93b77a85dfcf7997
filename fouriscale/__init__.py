"""FouriScale: pictures far above a diffusion model's training size, without training (arXiv 2403.12963).

import fouriscale as fs
with fs.on_pipeline(pipe, width=2048, height=2048):  # a diffusers pipeline
    image = pipe("a castle").images[0]

plan = fs.plan(unet, width=1024, height=1024)  # any UNet of SD 1.x, 2.x or XL
with fs.attach(unet, plan, rows=("uncond", "cond")):
    eps = unet(x, t, encoder_hidden_states=context).sample
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import FouriScaleError, RowsError, SettingsError, UnsupportedModelError
    from .hooks import Session, attach
    from .hosts.diffusers.on_pipeline import on_pipeline
    from .maths.noise import NoiseSchedule
    from .planning import Plan, plan, plan_family
    from .settings import Settings

__version__ = "0.2.0"

__all__ = [
    "FouriScaleError", "NoiseSchedule", "Plan", "RowsError", "Session", "Settings", "SettingsError",
    "UnsupportedModelError", "attach", "on_pipeline", "plan", "plan_family",
]  # fmt: skip
_HOMES = {
    "FouriScaleError": "errors", "RowsError": "errors", "SettingsError": "errors", "UnsupportedModelError": "errors",
    "plan": "planning", "plan_family": "planning", "Plan": "planning", "Session": "hooks", "attach": "hooks",
    "Settings": "settings", "NoiseSchedule": "maths.noise",
    "on_pipeline": "hosts.diffusers.on_pipeline",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: torch takes seconds, in which the command has to bear an interrupt."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return found
