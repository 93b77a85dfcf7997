"""FouriScale (arXiv 2403.12963): dilate the deep convolutions, low-pass their inputs, keep detail by weak rows."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..filters.lowpass import FilterSpec, Kind, filters_alike
from ..maths import schedule, sizes
from ..maths.schedule import Progress
from ..settings.settings import Settings
from ..unet.layer import Layer
from .base import Frame, Method, Treatment

# The authors' numbers by family: gain left in the stop-bands, and by what weak rows are dilated less.
STOPBAND = {"sd15": 0.0, "sd21": 0.0, "sdxl": 0.6}
WEAK_DIVISOR = {"sd15": 1.0, "sd21": 1.0, "sdxl": 1.5}
EARLY, LATE = (0.2, 0.6), (0.4, 0.7)  # start and stop of the authors' runs; SDXL and four times the side run longer


@dataclass(frozen=True)
class FouriScale(Method):
    """The method of this project. bands: stop-bands of both filters. weak_divisor: see `WEAK_DIVISOR`."""

    bands: tuple[float, float]
    weak_divisor: float
    filter: bool
    guidance: bool
    fast: bool
    amp_guidance: float
    # What `weak_rows_differ` found, by dilation: it is asked in every call, and compares all filters.
    _differ: dict[float, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    treats_near_multiples: ClassVar[bool] = True
    published_with_freeu: ClassVar[bool] = True

    @classmethod
    def decide(cls, frame: Frame, settings: Settings) -> FouriScale:
        """Window, layers and stop-bands: the user's, else the authors' for this family and scale."""
        own = STOPBAND[frame.family]
        strong = own if settings.stopband_strong is None else settings.stopband_strong
        weak = own if settings.stopband_weak is None else settings.stopband_weak
        layers = frame.structure.select(settings.layers, frame.family)
        return cls(
            frame, layers, *window(frame, settings), (strong, weak),
            WEAK_DIVISOR[frame.family], settings.filter, settings.guidance, settings.fast, settings.amp_guidance,
        )  # fmt: skip

    @property
    def reason(self) -> str | None:
        """A stop of 0 switches it off."""
        return "stop is 0, so that every step is plain" if self.stop == 0.0 else None

    @property
    def weak_label(self) -> str | None:
        """Cond rows get a weak row (paper, section 3.4)."""
        return "cond" if self.guidance else None

    @property
    def keeps_weak(self) -> bool:
        """In fast mode."""
        return self.fast and self.guidance

    def dilation_at(self, progress: Progress) -> float | None:
        """Full before start, then falling to 1 at stop (paper, section 3.4: annealing)."""
        dilation = schedule.dilation_at(self.dilation, progress, self.start, self.stop)
        return dilation if dilation > 1.0 else None

    def amplification(self, progress: Progress) -> float:
        """Amplified guidance acts before start."""
        return self.amp_guidance if schedule.is_before(progress, self.start) else 1.0

    def whole_dilations(self, dilation: float) -> tuple[int, int]:
        """Of the strong and of the weak rows."""
        return schedule.strong_dilation(dilation), schedule.weak_dilation(dilation, self.weak_divisor)

    @property
    def stopbands(self) -> tuple[float, float] | None:
        """None with the filter off."""
        return self.bands if self.filter else None

    def on_grid(self, dilation: float) -> bool:
        """Whether the strong rows' convolutions run on a coarser grid at `dilation` (fast mode).

        Only where the filter leaves what that grid can hold: without a stop-band, and not while annealing.
        """
        whole = dilation > 1.0 and dilation == math.ceil(dilation)
        return self.fast and whole and self.filter and self.bands[0] == 0.0

    def weak_rows_differ(self, dilation: float) -> bool:
        """Not where small dilations make the filters of both do the same, or nothing."""
        if dilation not in self._differ:
            self._differ[dilation] = self._do_differ(dilation)
        return self._differ[dilation]

    def _do_differ(self, dilation: float) -> bool:
        pairs = set()
        for layer in self.layers:
            factor = 8 * 2**layer.level
            size = -(-self.frame.size[1] // factor), -(-self.frame.size[0] // factor)
            stride = 2 if layer.role == "downsampler" else 1
            host, weak = (self.treatment(layer, is_weak, dilation, size, stride) for is_weak in (False, True))
            if host.kernel != weak.kernel:
                return True
            pairs.add((host.filter, weak.filter))
        return not all(filters_alike(*pair) for pair in pairs)

    def treatment(self, layer: Layer, weak: bool, dilation: float, size: tuple[int, int], stride: int) -> Treatment:
        """Filter and dilate; where the ratio is not whole, on a feature map that is stretched until it is."""
        kind: Kind = "weak" if weak else "strong"
        spec = self.filter_spec(kind, layer, size, dilation / stride)
        whole = self.whole_dilations(dilation)[weak]
        if self.frame.rounding != "up":
            exact = max(dilation / (self.weak_divisor if weak else 1.0), 1.0)
            whole = math.floor(exact) if self.frame.rounding == "down" else whole
            return Treatment(spec, whole, whole / exact)
        on_grid = spec is not None and not weak and stride == 1 and self.on_grid(dilation)
        return Treatment(spec, whole, on_grid=on_grid)

    def filter_spec(self, kind: Kind, layer: Layer, size: tuple[int, int], scale: float) -> FilterSpec | None:
        """The filter for a feature map of `size` (height, width), or None where the layer is not filtered.

        scale: fractional dilation divided by the convolution's stride. Upsamplers are dilated but not filtered.
        """
        if not self.filter or layer.role == "upsampler" or scale <= 1.0:
            return None
        # The authors take SDXL's downsampling from the height for both axes, and keep it fractional.
        frame = self.frame
        factor = frame.size[1] / size[0] if frame.family == "sdxl" else 8.0 * 2**layer.level
        periods = [sizes.padded_period(n, b / factor, frame.scale) for n, b in zip(size, frame.base[::-1], strict=True)]
        return FilterSpec(kind, scale, self.bands[kind == "weak"], (periods[0], periods[1]), size)

    def of_part(self, layers: tuple[Layer, ...]) -> FouriScale:
        """Without guidance."""
        return dataclasses.replace(self, layers=layers, guidance=False, amp_guidance=1.0)

    def words(self) -> tuple[str, ...]:
        """Window, rows, dilations by step."""
        rows = "uncond, cond and its weak row" if self.guidance else "no weak rows (guidance off)"
        rows += " in every second step" * self.keeps_weak
        strong, weak = self.bands
        return (
            f"dilation {self.dilation:g}",
            f"full until {self.start:.0%} of the trajectory, annealed until {self.stop:.0%}, plain after that",
            f"rows: {rows}; stop-bands: strong {strong:g}, weak {weak:g}" + " (filter off)" * (not self.filter),
            "of 50 steps: " + ", ".join(f"{a}–{b} {self._dilations(s, w)}" for a, b, s, w in self.steps()),
        )

    def _dilations(self, strong: int, weak: int) -> str:
        if strong == 1:
            return "plain"
        if self.frame.rounding != "up":
            return "dilated by what is left of the ratio"
        return f"dilation {strong}" if strong == weak else f"dilation {strong} (weak {weak})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for reports and APIs."""
        return {**super().to_dict(), "stopbands": list(self.bands)}


def window(frame: Frame, settings: Settings) -> tuple[float, float]:
    """Start and stop: the user's, else the authors' for this family and scale."""
    start, stop = LATE if frame.family == "sdxl" or frame.dilation > 3 else EARLY
    start = start if settings.start is None else settings.start
    stop = stop if settings.stop is None else settings.stop
    if settings.start is None:
        start = min(start, stop)
    if settings.stop is None:
        stop = max(start, stop)
    return start, stop


METHOD = FouriScale
