"""What a plan is: everything that will be done in a run, decided before a hook is attached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..filters.freeu import FreeU
from ..maths import schedule
from ..maths.schedule import Progress
from ..maths.sizes import Size, px
from ..methods.base import Method
from ..settings.fields import METHODS
from ..settings.settings import Settings
from ..unet.layer import Layer


@dataclass(frozen=True)
class Stage:
    """A part of the run in which the UNet works at a smaller size (coarse start).

    until: fraction of the trajectory at which it ends. size: (width, height) in pixels that the UNet works at, whole
    latent cells. plan: what is done at that size; one without a `reason` dilates there, else the UNet is plain.
    """

    until: float
    size: Size
    plan: Plan

    @property
    def cells(self) -> tuple[int, int]:
        """(height, width) of the latent."""
        return self.size[1] // 8, self.size[0] // 8


@dataclass(frozen=True)
class Plan:
    """Everything that will be done, decided. `reason` is None, or says in one sentence why nothing will be done.

    size: (width, height) in pixels. method: what is done at full size. stages: of the coarse start, in order. shared:
    paths of the blocks before the first hooked convolution. attention: paths of the self-attention modules.
    up_resnets: see `Structure`. levels: resolutions of the UNet. predicts: False for a ControlNet, which makes
    residuals. cost: estimated time of a whole run relative to the plain UNet at the
    same size.
    """

    settings: Settings
    family: str
    size: Size
    method: Method
    shared: tuple[str, ...]
    attention: tuple[str, ...]
    freeu: FreeU | None
    up_resnets: tuple[tuple[str, int], ...]
    cost: float
    reason: str | None
    stages: tuple[Stage, ...] = ()
    levels: int = 4
    predicts: bool = True

    @property
    def active(self) -> bool:
        """False where the UNet stays plain throughout."""
        return self.reason is None

    @property
    def base(self) -> Size:
        """(width, height) in pixels that the picture is measured against."""
        return self.method.base

    @property
    def dilation(self) -> float:
        """At the start of the method's window, before annealing."""
        return self.method.dilation

    @property
    def start(self) -> float:
        """Fraction of the trajectory until which the method is at full strength."""
        return self.method.start

    @property
    def stop(self) -> float:
        """Fraction of the trajectory from which on the UNet is plain."""
        return self.method.stop

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The convolutions that are hooked at full size."""
        return self.method.layers

    @property
    def hooked(self) -> tuple[Layer, ...]:
        """The convolutions that are hooked at any size."""
        found = dict.fromkeys(self.layers)
        for stage in self.stages:
            found.update(dict.fromkeys(stage.plan.layers if stage.plan.active else ()))
        return tuple(found)

    @property
    def cells(self) -> tuple[int, int]:
        """(height, width) of the latent."""
        return self.size[1] // 8, self.size[0] // 8

    def stage_at(self, progress: Progress) -> Stage | None:
        """The stage of the coarse start that `progress` falls into; None at full size."""
        return next((stage for stage in self.stages if schedule.is_before(progress, stage.until)), None)

    def dilation_at(self, progress: Progress) -> float:
        """Fractional dilation at `progress`, as the method counts; 1.0 also where the UNet is plain."""
        stage = self.stage_at(progress)
        if stage is not None:
            return stage.plan.dilation_at(progress)
        return (self.method.dilation_at(progress) or 1.0) if self.active else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for logs, reports and APIs."""
        freeu = None if self.freeu is None else [self.freeu.b1, self.freeu.b2, self.freeu.s1, self.freeu.s2]
        return {
            "method": self.settings.method,
            "family": self.family,
            "size": list(self.size),
            "base": list(self.base),
            **self.method.to_dict(),
            "guidance": self.settings.guidance,
            "filter": self.settings.filter,
            "amp_guidance": self.settings.amp_guidance,
            "freeu": freeu,
            "layers": [layer.name for layer in self.layers],
            "coarse": [{"until": stage.until, "size": list(stage.size)} for stage in self.stages],
            "cost": round(self.cost, 3),
            "active": self.active,
            "reason": self.reason,
        }

    def lines(self) -> list[str]:
        """What will be done, in lines; the first one says the most."""
        name = METHODS[self.settings.method]
        head = f"{name} for {self.family}, {px(self.size)}, base {px(self.base)}: "
        if self.reason is not None:
            return [head + "nothing to do: " + self.reason]
        first, *others = self.method.words()
        coarse = "".join(f"until {s.until:.0%} at {px(s.size)}, then " for s in self.stages)
        lines = [f"{head}{coarse}{first}, estimated {self.cost:.2f} times the plain run", *(f"  {o}" for o in others)]
        if self.layers:
            lines += [f"  {len(self.layers)} convolutions:", *(f"    {layer.name}" for layer in self.layers)]
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())
