"""FouriScale's axes of the host's X/Y/Z plot. Values travel on the processing object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...settings.presets import AUTO
from ...settings.settings import LAYER_SETS, METHODS, ROUNDINGS
from .args import CUSTOM, PASSES
from .run import XYZ_ATTRIBUTE

PREFIX = "[FouriScale] "


def find_xyz_module(scripts_data: Sequence[Any]) -> Any | None:
    """The host's xyz_grid module among its loaded scripts, or None."""
    for data in scripts_data:
        if str(getattr(data, "path", "")).replace("\\", "/").endswith("/xyz_grid.py"):
            return data.module
    return None


def add_axes(xyz: Any, preset_names: Callable[[], list[str]]) -> int:
    """Append the axes that `xyz` (the host's module) has not yet; returns how many were added."""

    def setter(field: str) -> Callable[[Any, Any, Any], None]:
        def apply(p: Any, value: Any, _values: Any) -> None:
            # A new mapping each time: cells of the plot share what the first one got.
            setattr(p, XYZ_ATTRIBUTE, {**getattr(p, XYZ_ATTRIBUTE, {}), field: value})

        return apply

    switch = {"choices": lambda: ["True", "False"]}
    axes: list[tuple[str, str, type, dict[str, Any]]] = [
        ("Enabled", "enabled", str, switch),
        ("Preset", "preset", str, {"choices": lambda: [AUTO, *preset_names(), CUSTOM]}),
        ("Pass", "passes", str, {"choices": lambda: list(PASSES)}),
        ("Start", "start", float, {}),
        ("Stop", "stop", float, {}),
        ("Dilation", "dilation", float, {}),
        ("Layers", "layers", str, {"choices": lambda: list(LAYER_SETS)}),
        ("Guidance", "guidance", str, switch),
        ("Filter", "filter", str, switch),
        ("Base size", "base", str, {}),
        ("Strong stop-band", "stopband_strong", float, {}),
        ("Weak stop-band", "stopband_weak", float, {}),
        ("Amplified guidance", "amp_guidance", float, {}),
        ("FreeU", "freeu", str, switch),
        ("Method", "method", str, {"choices": lambda: list(METHODS)}),
        ("Low memory", "low_memory", str, switch),
        ("Fast", "fast", str, switch),
        ("Rounding", "rounding", str, {"choices": lambda: list(ROUNDINGS)}),
    ]
    present = {option.label for option in xyz.axis_options}
    new = [
        xyz.AxisOption(PREFIX + label, kind, setter(field), **extra)
        for label, field, kind, extra in axes
        if PREFIX + label not in present
    ]
    xyz.axis_options.extend(new)
    return len(new)
