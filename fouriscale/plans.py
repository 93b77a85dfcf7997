"""What a plan is: everything that will be done, and what follows from it for each layer and step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .maths import schedule, sizes
from .maths.freeu import FreeU
from .maths.lowpass import FilterSpec, Kind, filters_alike
from .maths.schedule import Progress
from .maths.sizes import Size
from .plan_text import plan_lines
from .scalecrafter import Redilation
from .settings import WHOLE_WITHIN, Settings
from .unet.structure import Layer


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
        return rounding_at(self.settings, self.dilation)

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

    def twins_differ(self, dilation: float) -> bool:
        """Whether twins come out different from their rows at `dilation`: with small dilations the filters do the
        same, or nothing. Then the twins need not be computed. ScaleCrafter's damped twins are taken to differ.
        """
        if self.redilation is not None:
            return True
        pairs = set()
        for layer in self.layers:
            factor = 8 * 2**layer.level
            size = -(-self.size[1] // factor), -(-self.size[0] // factor)
            stride = 2 if layer.role == "downsampler" else 1
            host, twin = (self.treatment(layer, is_twin, dilation, size, stride) for is_twin in (False, True))
            if host.kernel != twin.kernel:
                return True
            pairs.add((host.filter, twin.filter))
        return not all(filters_alike(*pair) for pair in pairs)

    def has_twins(self, dilation: float) -> bool:
        """Whether a step at `dilation` computes twins, unless it uses another step's (`keeps_twins`)."""
        return dilation > 1.0 and self.doubled is not None and self.twins_differ(dilation)

    def twins_by_step(self, count: int = 50) -> list[bool]:
        """Whether each of `count` steps computes twins."""
        computed: list[bool] = []
        for i in range(count):
            needed = self.has_twins(self.dilation_at((i, count)))
            computed.append(needed and not (self.keeps_twins and i > 0 and computed[-1]))
        return computed

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


def whole_multiple(ratio: float) -> int | None:
    """The whole multiple from 2 on that "auto" plans a picture of `ratio` times the base as, or None between them."""
    nearest = round(ratio)
    return nearest if nearest >= 2 and abs(ratio - nearest) <= WHOLE_WITHIN * nearest else None


def rounding_at(settings: Settings, ratio: float) -> str:
    """What "auto" rounding means for a picture that is `ratio` times as large as the base: "up" or "down"."""
    if settings.rounding != "auto":
        return settings.rounding
    return "down" if ratio < 2.0 else "up"
