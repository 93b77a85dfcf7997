"""Settings + UNet structure + picture size → a frozen plan. Pure: the same in gives the same out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .cost import relative_cost
from .maths import schedule, sizes
from .maths.freeu import PUBLISHED, FreeU
from .maths.lowpass import FilterSpec, Kind
from .maths.schedule import Progress
from .maths.sizes import Size
from .settings import Settings
from .unet.structure import Layer, Structure, blueprint_structure, describe

STOPBAND = {"sd15": 0.0, "sd21": 0.0, "sdxl": 0.6}
WEAK_DIVISOR = {"sd15": 1.0, "sd21": 1.0, "sdxl": 1.5}
EARLY, LATE = (0.2, 0.6), (0.4, 0.7)  # start, stop of the authors' runs


@dataclass(frozen=True)
class Plan:
    """Everything that will be done, decided. `reason` is None, or says in one sentence why nothing will be done.

    size, base: (width, height) in pixels. dilation: at the start, before annealing. scale: whole-number ratio of the
    padded frame to the base. layers: the convolutions that will be hooked. cost: estimated time of a whole run
    relative to the plain UNet at the same size.
    """

    settings: Settings
    family: str
    size: Size
    base: Size
    dilation: float
    scale: int
    start: float
    stop: float
    stopbands: tuple[float, float]
    weak_divisor: float
    layers: tuple[Layer, ...]
    shared: tuple[str, ...]
    attention: tuple[str, ...]
    freeu: FreeU | None
    up_resnets: tuple[tuple[str, int], ...]
    cost: float
    reason: str | None

    @property
    def active(self) -> bool:
        """False where the UNet stays plain throughout."""
        return self.reason is None

    def dilation_at(self, progress: Progress) -> float:
        """Fractional dilation at `progress`, a fraction or (step, steps); 1.0 means plain."""
        if not self.active:
            return 1.0
        return schedule.dilation_at(self.dilation, progress, self.start, self.stop)

    def before_start(self, progress: Progress) -> bool:
        """Whether the trajectory is still before `start`, counted as `dilation_at` counts."""
        if isinstance(progress, tuple):
            return progress[0] < round(self.start * progress[1])
        return progress < self.start

    def conv_dilations(self, dilation: float) -> tuple[int, int]:
        """Whole-number dilations of the strong and of the weak rows."""
        return schedule.strong_dilation(dilation), schedule.weak_dilation(dilation, self.weak_divisor)

    def filter_spec(self, kind: Kind, layer: Layer, size: tuple[int, int], scale: float) -> FilterSpec | None:
        """The filter for a feature map of `size` (height, width), or None where the layer is not filtered.

        scale: fractional dilation divided by the convolution's stride. Upsamplers are dilated but not filtered.
        """
        if not self.settings.filter or layer.role == "upsampler" or scale <= 1.0:
            return None
        # The authors take SDXL's downsampling from the height for both axes, and keep it fractional.
        factor = self.size[1] / size[0] if self.family == "sdxl" else 8.0 * 2**layer.level
        periods = [sizes.padded_period(n, b / factor, self.scale) for n, b in zip(size, self.base[::-1], strict=True)]
        stopband = self.stopbands[0 if kind == "strong" else 1]
        return FilterSpec(kind, scale, stopband, (periods[0], periods[1]), size)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for logs, reports and APIs."""
        return {
            "family": self.family,
            "size": list(self.size),
            "base": list(self.base),
            "dilation": self.dilation,
            "start": self.start,
            "stop": self.stop,
            "stopbands": list(self.stopbands),
            "guidance": self.settings.guidance,
            "filter": self.settings.filter,
            "amp_guidance": self.settings.amp_guidance,
            "freeu": None if self.freeu is None else [self.freeu.b1, self.freeu.b2, self.freeu.s1, self.freeu.s2],
            "layers": [layer.name for layer in self.layers],
            "cost": round(self.cost, 3),
            "active": self.active,
            "reason": self.reason,
        }

    def steps(self, count: int = 50) -> list[tuple[int, int, int, int]]:
        """Runs of equal dilation over `count` steps: (first step, last step, strong, weak)."""
        runs: list[tuple[int, int, int, int]] = []
        for i in range(count):
            strong, weak = self.conv_dilations(self.dilation_at((i, count)))
            if runs and runs[-1][2:] == (strong, weak):
                runs[-1] = (runs[-1][0], i, strong, weak)
            else:
                runs.append((i, i, strong, weak))
        return runs

    def __str__(self) -> str:
        head = f"FouriScale for {self.family}, {_px(self.size)}, base {_px(self.base)}: "
        if self.reason is not None:
            return head + "nothing to do: " + self.reason
        rows = "uncond, cond and its weak twin" if self.settings.guidance else "no extra rows (guidance off)"
        lines = [
            head + f"dilation {self.dilation:g}, estimated {self.cost:.2f} times the plain run",
            f"  full until {self.start:.0%} of the trajectory, annealed until {self.stop:.0%}, plain after that",
            f"  rows: {rows}; stop-bands: strong {self.stopbands[0]:g}, weak {self.stopbands[1]:g}"
            + ("" if self.settings.filter else " (filter off)"),
            "  of 50 steps: "
            + ", ".join(
                f"{a}–{b} " + ("plain" if s == 1 else f"dilation {s}" if s == w else f"dilation {s} (weak {w})")
                for a, b, s, w in self.steps()
            ),
            f"  {len(self.layers)} convolutions:",
            *(f"    {layer.name}" for layer in self.layers),
        ]
        return "\n".join(lines)


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
    family = structure.family if settings.family == "auto" else settings.family
    size = (width, height)
    base = _base(structure, family, size, settings)
    scale = sizes.ceil_scale(size, base)
    dilation = float(scale) if settings.dilation is None else settings.dilation
    start, stop = _window(settings, family, dilation)
    layers = structure.select(settings.layers, family)
    strong = STOPBAND[family] if settings.stopband_strong is None else settings.stopband_strong
    weak = STOPBAND[family] if settings.stopband_weak is None else settings.stopband_weak
    shared = structure.before(layers[0].name) if layers else ()
    reason = _reason(size, base, scale, dilation, stop, settings)
    cost = 1.0
    if reason is None:
        first = layers[0].name
        cost = relative_cost(structure.blueprint, size, first, stop if settings.guidance else 0.0)
    return Plan(
        settings, family, size, base, dilation, scale, start, stop, (strong, weak), WEAK_DIVISOR[family], layers,
        shared, structure.attention, _freeu(settings, family), structure.up_resnets, cost, reason,
    )  # fmt: skip


def _base(structure: Structure, family: str, size: Size, settings: Settings) -> Size:
    if settings.base is not None:
        return settings.base
    if family == "sdxl":
        return sizes.nearest_bucket(size, structure.base)
    return (structure.base, structure.base)


def _window(settings: Settings, family: str, dilation: float) -> tuple[float, float]:
    """Start and stop: the user's, else the authors' for this family and scale (SDXL and 4× sides run longer)."""
    start, stop = LATE if family == "sdxl" or dilation > 3 else EARLY
    start = start if settings.start is None else settings.start
    stop = stop if settings.stop is None else settings.stop
    if settings.start is None:
        start = min(start, stop)
    if settings.stop is None:
        stop = max(start, stop)
    return start, stop


def _freeu(settings: Settings, family: str) -> FreeU | None:
    if isinstance(settings.freeu, tuple):
        return FreeU(*settings.freeu)
    return PUBLISHED[family] if settings.freeu else None


def _reason(size: Size, base: Size, scale: int, dilation: float, stop: float, settings: Settings) -> str | None:
    if settings.dilation == 1.0:
        return "the dilation is set to 1"
    if scale == 1 and settings.dilation is None:
        return f"{_px(size)} is not larger than the {_px(base)} that the model was trained at"
    if stop == 0.0:
        return "stop is 0, so that every step is plain"
    return None if dilation > 1.0 else "the dilation is 1"


def _px(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
