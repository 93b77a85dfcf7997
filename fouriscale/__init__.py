"""FouriScale: pictures far above a diffusion model's training size, without training (arXiv 2403.12963).

import fouriscale as fs
plan = fs.plan(unet, width=1024, height=1024)
with fs.attach(unet, plan, rows=("uncond", "cond")):
    eps = unet(x, t, encoder_hidden_states=context).sample
"""

from .errors import FouriScaleError, RowsError, SettingsError, UnsupportedModelError
from .planning import plan, plan_family
from .plans import Plan
from .session import Session, attach
from .settings import Settings

__version__ = "0.2.0"

__all__ = [
    "FouriScaleError", "Plan", "RowsError", "Session", "Settings", "SettingsError", "UnsupportedModelError",
    "attach", "plan", "plan_family",
]  # fmt: skip
