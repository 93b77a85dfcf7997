"""What a method is: decided once for a UNet, a size and settings, then asked for each moment and each layer."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ..filters.lowpass import FilterSpec
from ..maths.schedule import Progress
from ..maths.sizes import Size, px
from ..settings.settings import Settings
from ..unet.layer import Layer
from ..unet.structure import Structure


@dataclass(frozen=True)
class Treatment:
    """What one convolution does to some rows: filter the input, enlarge it by `stretch`, convolve with `dilation`.

    on_grid: filter and convolve on a grid that is coarser by `dilation`, and enlarge the result instead (fast mode).
    """

    filter: FilterSpec | None
    dilation: int
    stretch: float = 1.0
    on_grid: bool = False

    @property
    def kernel(self) -> tuple[int, float, bool]:
        """What must be equal for two groups of rows to be convolved together."""
        return self.dilation, self.stretch, self.on_grid


@dataclass(frozen=True)
class Frame:
    """A picture against what the model was trained at: where every method starts from.

    size, base: (width, height) in pixels. scale: whole-number ratio of the padded picture to the base. dilation: the
    ratio to dilate by, whole or not. rounding: how a ratio that is not whole is made: "up", "exact" or "down".
    """

    structure: Structure
    family: str
    size: Size
    base: Size
    scale: int
    dilation: float
    rounding: str

    @property
    def area_ratio(self) -> float:
        """Picture's area over the base's."""
        return self.size[0] * self.size[1] / (self.base[0] * self.base[1])


@dataclass(frozen=True)
class Method(ABC):
    """One method, decided. Subclasses add what they need; an instance never changes.

    layers: the convolutions that will be hooked. start, stop: fractions of the trajectory between which it lets go.
    """

    frame: Frame
    layers: tuple[Layer, ...]
    start: float
    stop: float

    # Whether it scales the queries of self-attention (`query_scale`).
    scales_queries: ClassVar[bool] = False
    # Whether rounding "auto" treats a picture that is near a whole multiple of the base as that multiple.
    treats_near_multiples: ClassVar[bool] = False
    # Whether its authors' runs have FreeU on.
    published_with_freeu: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def decide(cls, frame: Frame, settings: Settings) -> Method:
        """The method for a picture. Raises SettingsError where the settings do not fit the UNet."""

    @property
    def reason(self) -> str | None:
        """Why it would do nothing throughout, as a sentence; None where it does something."""
        return None

    @property
    def base(self) -> Size:
        """What the picture is measured against, (width, height) in pixels."""
        return self.frame.base

    @property
    def dilation(self) -> float:
        """The dilation at the start, before it lets go."""
        return self.frame.dilation

    @property
    def weak_label(self) -> str | None:
        """Label of the rows that get a second, weak (or damped) row: "cond", "uncond", or None where no row does."""
        return None

    @property
    def keeps_weak(self) -> bool:
        """Whether every second step makes do with what the weak rows changed in the step before (fast mode)."""
        return False

    @abstractmethod
    def dilation_at(self, progress: Progress) -> float | None:
        """Fractional dilation while it is at work, 1.0 for a method that dilates nothing; None: the UNet is plain.

        progress: fraction of the trajectory, or (step, steps).
        """

    def treatment(self, layer: Layer, weak: bool, dilation: float, size: tuple[int, int], stride: int) -> Treatment:
        """What `layer` does at `dilation` to a feature map of `size` (height, width), for weak rows or the host's.

        stride: of the convolution.
        """
        return Treatment(None, 1)

    def weak_rows_differ(self, dilation: float) -> bool:
        """Whether weak rows come out different from their rows at `dilation`; where not, none are computed."""
        return self.weak_label is not None

    @property
    def stopbands(self) -> tuple[float, float] | None:
        """Gain that the strong and the weak filter leave in the stop-band; None for a method without filters."""
        return None

    def on_grid(self, dilation: float) -> bool:
        """Whether convolutions of the host's rows run on a coarser grid at `dilation` (fast mode)."""
        return False

    def query_scale(self, tokens: int) -> float:
        """Factor on the queries of a self-attention over so many tokens."""
        return 1.0

    def amplification(self, progress: Progress) -> float:
        """Factor on the CFG scale at `progress`; 1.0 is none."""
        return 1.0

    def whole_dilations(self, dilation: float) -> tuple[int, int]:
        """The largest whole-number dilations of the host's and of the weak rows, for people to see."""
        return 1, 1

    @abstractmethod
    def words(self) -> tuple[str, ...]:
        """What it does, in lines without the name; the first completes "…, base 512×512: "."""

    def header(self) -> str:
        """What it does, in the few words of a header."""
        return f"dilation {self.dilation:.3g} over {px(self.base)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for reports and APIs."""
        return {"dilation": self.dilation, "start": self.start, "stop": self.stop}

    def of_part(self, layers: tuple[Layer, ...]) -> Method:
        """The same for a copy of a part of the UNet (a ControlNet) that has `layers`: no rows of it get weak rows."""
        return dataclasses.replace(self, layers=layers)

    # What follows from the above, the same for all.

    def has_weak_rows(self, dilation: float | None) -> bool:
        """Whether a step at `dilation` computes weak rows, unless it uses another step's (`keeps_weak`)."""
        return dilation is not None and self.weak_label is not None and self.weak_rows_differ(dilation)

    def weak_rows_by_step(self, count: int = 50) -> list[bool]:
        """Whether each of `count` steps computes weak rows."""
        computed: list[bool] = []
        for i in range(count):
            needed = self.has_weak_rows(self.dilation_at((i, count)))
            computed.append(needed and not (self.keeps_weak and i > 0 and computed[-1]))
        return computed

    def steps(self, count: int = 50) -> list[tuple[int, int, int, int]]:
        """Runs of equal whole dilations over `count` steps: (first step, last step, host's rows, weak rows)."""
        runs: list[tuple[int, int, int, int]] = []
        for i in range(count):
            dilation = self.dilation_at((i, count))
            pair = (1, 1) if dilation is None else self.whole_dilations(dilation)
            if runs and runs[-1][2:] == pair:
                runs[-1] = (runs[-1][0], i, *pair)
            else:
                runs.append((i, i, *pair))
        return runs
