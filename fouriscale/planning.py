"""Settings + UNet structure + picture size → a frozen plan. Pure: the same in gives the same out."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from . import scalecrafter
from .cost import relative_cost
from .maths import schedule, sizes
from .maths.freeu import PUBLISHED, FreeU
from .maths.lowpass import FilterSpec, Kind
from .maths.schedule import Progress
from .maths.sizes import Size
from .plan_text import plan_lines, px
from .scalecrafter import Redilation
from .settings import PLAIN_UP_TO, Settings
from .unet.structure import Layer, Structure, blueprint_structure, describe

STOPBAND = {"sd15": 0.0, "sd21": 0.0, "sdxl": 0.6}
WEAK_DIVISOR = {"sd15": 1.0, "sd21": 1.0, "sdxl": 1.5}
EARLY, LATE = (0.2, 0.6), (0.4, 0.7)  # start, stop of the authors' runs


@dataclass(frozen=True)
class Treatment:
    """What one convolution does to some rows: filter the input, enlarge it by `stretch`, convolve with `dilation`.

    coarse: filter and convolve on a grid that is coarser by `dilation`, and enlarge the result instead.
    """

    filter: FilterSpec | None
    dilation: int
    stretch: float = 1.0
    coarse: bool = False

    @property
    def kernel(self) -> tuple[int, float, bool]:
        """What must be equal for two groups of rows to be convolved together."""
        return self.dilation, self.stretch, self.coarse


@dataclass(frozen=True)
class Plan:
    """Everything that will be done, decided. `reason` is None, or says in one sentence why nothing will be done.

    size, base: (width, height) in pixels. dilation: at the start, before annealing. scale: whole-number ratio of the
    padded frame to the base. layers: the convolutions that will be hooked. cost: estimated time of a whole run
    relative to the plain UNet at the same size. redilation: what ScaleCrafter does, where that is the method.
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
    redilation: Redilation | None = None

    @property
    def doubled(self) -> str | None:
        """Label of the rows that get twins: "cond", "uncond", or None where no row does."""
        if not self.settings.guidance or self.settings.method == "attn-entropy":
            return None
        if self.redilation is not None:
            return None if self.redilation.damped is None else "uncond"
        return "cond"

    @property
    def keeps_twins(self) -> bool:
        """Whether every second step makes do with what the twins changed in the step before (fast mode)."""
        return self.settings.fast and self.doubled == "cond"

    def coarse_at(self, dilation: float) -> bool:
        """Whether the strong rows' convolutions run on a coarser grid at `dilation` (fast mode).

        Only where the filter leaves what that grid can hold: without a stop-band, and not while annealing.
        """
        whole = dilation > 1.0 and dilation == math.ceil(dilation)
        return self.settings.fast and whole and self.settings.filter and self.stopbands[0] == 0.0

    @property
    def area_ratio(self) -> float:
        """Picture's area over the base's."""
        return self.size[0] * self.size[1] / (self.base[0] * self.base[1])

    @property
    def rounding(self) -> str:
        """How dilations that are not whole are made: "up", "exact" or "down"."""
        return _rounding(self.settings, self.dilation)

    @property
    def active(self) -> bool:
        """False where the UNet stays plain throughout."""
        return self.reason is None

    def dilation_at(self, progress: Progress) -> float:
        """Fractional dilation at `progress`, a fraction or (step, steps); 1.0 means plain.

        Attention entropy dilates nothing; it is at work throughout, which its scale stands for.
        """
        if not self.active:
            return 1.0
        if self.settings.method == "attn-entropy":
            return self.dilation
        if self.redilation is not None:
            left = schedule.share_left(progress, self.stop) if self.redilation.progressive else 1.0
            on = schedule.share_left(progress, self.stop) > 0.0
            return max(self.dilation * left, min(2.0, self.dilation)) if on else 1.0
        return schedule.dilation_at(self.dilation, progress, self.start, self.stop)

    def before_start(self, progress: Progress) -> bool:
        """Whether the trajectory is still before `start`, counted as `dilation_at` counts."""
        if isinstance(progress, tuple):
            return progress[0] < round(self.start * progress[1])
        return progress < self.start

    def conv_dilations(self, dilation: float) -> tuple[int, int]:
        """Whole-number dilations of the strong and of the weak rows."""
        return schedule.strong_dilation(dilation), schedule.weak_dilation(dilation, self.weak_divisor)

    def treatment(self, layer: Layer, twin: bool, dilation: float, size: tuple[int, int], stride: int) -> Treatment:
        """What `layer` does at `dilation` to a feature map of `size` (height, width), for the twins or the host's rows.

        stride: of the convolution.
        """
        if self.redilation is not None:
            value = self.redilation.at(layer.name, twin, dilation / self.dilation)
            whole = math.ceil(value)
            return Treatment(None, whole, whole / value)
        kind: Kind = "weak" if twin else "strong"
        spec = self.filter_spec(kind, layer, size, dilation / stride)
        whole = self.conv_dilations(dilation)[twin]
        if self.rounding != "up":
            exact = max(dilation / (self.weak_divisor if twin else 1.0), 1.0)
            whole = math.floor(exact) if self.rounding == "down" else whole
            return Treatment(spec, whole, whole / exact)
        coarse = spec is not None and not twin and stride == 1 and self.coarse_at(dilation)
        return Treatment(spec, whole, coarse=coarse)

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
            "method": self.settings.method,
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
        """Runs of equal dilation over `count` steps: (first step, last step, strong, weak); the largest of all layers.

        Twins that are not FouriScale's weak ones count as dilated like the rest here.
        """
        runs: list[tuple[int, int, int, int]] = []
        for i in range(count):
            strong, weak = self.conv_dilations(self.dilation_at((i, count)))
            if self.redilation is not None:
                weak = strong
            if runs and runs[-1][2:] == (strong, weak):
                runs[-1] = (runs[-1][0], i, strong, weak)
            else:
                runs.append((i, i, strong, weak))
        return runs

    def __str__(self) -> str:
        return "\n".join(plan_lines(self))


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
    dilation = _dilation(size, base, scale, settings)
    start, stop = _window(settings, family, dilation)
    layers = structure.select(settings.layers, family)
    redilation = None
    if settings.method == "scalecrafter" and scale > 1:
        base, redilation = _redilation(structure, family, size, base, settings)
        dilation, start, stop = redilation.largest, 0.0 if redilation.progressive else redilation.stop, redilation.stop
        layers = _redilated(structure, settings, redilation, layers)
    elif settings.method == "attn-entropy":
        start, stop, layers = 1.0, 1.0, ()
    strong = STOPBAND[family] if settings.stopband_strong is None else settings.stopband_strong
    weak = STOPBAND[family] if settings.stopband_weak is None else settings.stopband_weak
    made = Plan(
        settings, family, size, base, dilation, scale, start, stop, (strong, weak), WEAK_DIVISOR[family], layers,
        structure.before(layers[0].name) if layers else (), structure.attention, _freeu(settings, family),
        structure.up_resnets, 1.0, _reason(size, base, scale, dilation, stop, settings), redilation,
    )  # fmt: skip
    if made.reason is not None or made.doubled is None:
        return made
    guided = stop / 2 if made.keeps_twins else stop
    return dataclasses.replace(made, cost=relative_cost(structure.blueprint, size, layers[0].name, guided))


def _ratio(size: Size, base: Size) -> float:
    return max(size[0] / base[0], size[1] / base[1])


def _dilation(size: Size, base: Size, scale: int, settings: Settings) -> float:
    if settings.dilation is not None:
        return settings.dilation
    ratio = _ratio(size, base)
    return ratio if scale > 1 and _rounding(settings, ratio) != "up" else float(scale)


def _rounding(settings: Settings, ratio: float) -> str:
    if settings.rounding != "auto":
        return settings.rounding
    return "down" if ratio < 2.0 else "up"


def _redilation(
    structure: Structure, family: str, size: Size, base: Size, settings: Settings
) -> tuple[Size, Redilation]:
    """ScaleCrafter measures SDXL against its square training size, so the base is returned too."""
    if family == "sdxl" and settings.base is None:
        base = (structure.base, structure.base)
    smaller, larger = sorted((size[0] / base[0], size[1] / base[1]))
    if settings.dilation is not None:
        smaller, larger = smaller * settings.dilation / larger, settings.dilation
    found = scalecrafter.published(family, (smaller, max(larger, 1.0)))
    if settings.stop is not None:
        found = dataclasses.replace(found, stop=settings.stop)
    return base, found


def _redilated(
    structure: Structure, settings: Settings, redilation: Redilation, chosen: tuple[Layer, ...]
) -> tuple[Layer, ...]:
    """All layers of the published run, or those of them that the settings choose."""
    touched = tuple(layer for layer in structure.convs if redilation.touches(layer.name))
    return touched if settings.layers == "published" else tuple(layer for layer in touched if layer in chosen)


def _base(structure: Structure, family: str, size: Size, settings: Settings) -> Size:
    if settings.base is not None:
        return settings.base
    if family == "sdxl":
        similar = sizes.bucket_of_shape(size, structure.base)
        exact = settings.dilation is None and _rounding(settings, _ratio(size, similar)) != "up"
        # The padding that a whole multiple needs is no matter where the ratio itself is the dilation.
        return similar if exact else sizes.nearest_bucket(size, structure.base)
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
        return f"{px(size)} is not larger than the {px(base)} that the model was trained at"
    if stop == 0.0:
        return "stop is 0, so that every step is plain"
    if settings.rounding == "auto" and settings.dilation is None and _ratio(size, base) <= PLAIN_UP_TO:
        return f"up to {PLAIN_UP_TO:g} times the {px(base)} that the model was trained at, a model needs no help"
    return None if dilation > 1.0 else "the dilation is 1"
