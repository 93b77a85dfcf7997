"""FouriScale's axes of the host's X/Y/Z plot. Values travel on the processing object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...settings.fields import AUTO, CUSTOM, Field
from ...settings.settings import FIELDS
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

    present = {option.label for option in xyz.axis_options}
    new = [
        xyz.AxisOption(
            f"{PREFIX}{field.axis}", float if field.kind == "number" else str, setter(field.name),
            **choices_of(field, preset_names),
        )
        for field in FIELDS
        if field.axis is not None and f"{PREFIX}{field.axis}" not in present
    ]  # fmt: skip
    xyz.axis_options.extend(new)
    return len(new)


def choices_of(field: Field, preset_names: Callable[[], list[str]]) -> dict[str, Any]:
    """What an axis may offer: nothing for numbers and free text. A text may be given as text everywhere."""
    if field.name == "preset":
        return {"choices": lambda: [AUTO, *preset_names(), CUSTOM]}
    if field.argument_type == "bool":
        return {"choices": lambda: ["True", "False"]}
    return {"choices": lambda: list(field.choices)} if field.choices else {}
