"""What can be timed beside the plain UNet: one step in one mode, as a function to call."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from ... import planning
from ...errors import SettingsError
from ...hooks import attach
from ...hooks.kept import KeptDifferences
from ...hosts.diffusers.attention import DiffusersCalls
from ...methods.fouriscale import FouriScale
from ...planning.plans import Plan
from ...settings.settings import Settings
from ..naive import patched
from .layouts import Inputs
from .timing import STEPS, StepKind

NAIVE = "reference"
MODES: dict[str, dict[str, Any]] = {
    "fouriscale": {},
    NAIVE: {},
    "low-memory": {"low_memory": True},
    "fast": {"fast": True},
    "scalecrafter": {"method": "scalecrafter"},
    "attn-entropy": {"method": "attn-entropy"},
}
PARTS = ("filter", "dilation", "guidance")


class AlwaysWeakRows(FouriScale):
    """Computes weak rows in any case: without filters SD's would be their rows, and there were none."""

    def weak_rows_differ(self, dilation: float) -> bool:
        """True, always."""
        return True


class Undilated(FouriScale):
    """Filters, but dilates nothing: to see what dilation costs."""

    def whole_dilations(self, dilation: float) -> tuple[int, int]:
        """1 and 1, always."""
        return 1, 1


def _as(kind: type[FouriScale], plan: Plan) -> Plan:
    """`plan` with a method that does the same but for what `kind` changes."""
    fields = (field for field in dataclasses.fields(plan.method) if field.init)
    return dataclasses.replace(plan, method=kind(**{field.name: getattr(plan.method, field.name) for field in fields}))


class Subject:
    """A UNet, the inputs of a call and the picture's size. Raises SettingsError where the size leaves the UNet plain.

    settings: what every mode starts from.
    """

    def __init__(self, unet: Any, inputs: Inputs, size: tuple[int, int], settings: Settings):
        self.unet, self.inputs, self.size, self.settings = unet, inputs, size, settings
        self._three = inputs.rows([0, 1, 1])

    def plan(self, mode: str) -> Plan:
        """The plan of `mode`. Raises SettingsError for an unknown mode or a plan that does nothing."""
        if mode not in MODES:
            raise SettingsError("modes", mode, "some of " + ", ".join(MODES))
        made = planning.plan(self.unet, *self.size, self.settings.replace(**MODES[mode]))
        if not made.active:
            raise SettingsError("size", f"{self.size[0]}×{self.size[1]}", f"a larger one: {made.reason}")
        return made

    def plain(self) -> torch.Tensor:
        """One plain step, the rows uncond and cond."""
        with torch.no_grad():
            return self.inputs.call(self.unet)

    def step(self, mode: str, kind: StepKind) -> Callable[[], torch.Tensor]:
        """One step of `kind` in `mode`; returns the rows uncond and cond (from its weak row)."""
        plan = self.plan(mode)
        if mode == NAIVE:
            return lambda: self._naive(plan, kind)
        return self._after_another(plan, kind) if kind.kept else lambda: self._ours(plan, kind)[0]

    def without(self, part: str, kind: StepKind) -> Callable[[], torch.Tensor]:
        """One step of `kind` without one of `PARTS`."""
        if part == "dilation":
            plan = _as(Undilated, self.plan("fouriscale"))
        else:
            plan = planning.plan(self.unet, *self.size, self.settings.replace(**{part: False}))
            plan = _as(AlwaysWeakRows, plan) if part == "filter" else plan
        return lambda: self._ours(plan, kind)[0]

    def _ours(
        self, plan: Plan, kind: StepKind, kept: KeptDifferences | None = None
    ) -> tuple[torch.Tensor, KeptDifferences | None]:
        # A session of its own for every step: while annealing each step needs new filters, which belong to its time.
        with torch.no_grad(), attach(self.unet, plan, adapter=DiffusersCalls()) as session:
            session.progress = (kind.step, STEPS)
            session.kept = kept or session.kept
            return self.inputs.call(self.unet), session.kept

    def _after_another(self, plan: Plan, kind: StepKind) -> Callable[[], torch.Tensor]:
        """A step that uses what the step before left; that one is computed at the first call, to warm up."""
        before: list[KeptDifferences | None] = []

        def act() -> torch.Tensor:
            if not before:
                before.append(self._ours(plan, dataclasses.replace(kind, step=kind.step - 1))[1])
            return self._ours(plan, kind, copy.deepcopy(before[0]))[0]

        return act

    def _naive(self, plan: Plan, kind: StepKind) -> torch.Tensor:
        base, d = (plan.base[1], plan.base[0]), plan.dilation_at((kind.step, STEPS))
        latent_h = self.inputs.sample.shape[-2]
        with torch.no_grad(), patched(self.unet, family=plan.family, latent_h=latent_h, base_px=base, d=d):
            return self._three.call(self.unet)[[0, 2]]
