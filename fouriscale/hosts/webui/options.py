"""The settings page of the extension, and reading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...settings.fields import AUTO, CUSTOM
from .log import LEVELS, get_logger, set_level
from .report import Report
from .run import Environment
from .user_presets import exists, load_all

SECTION = ("fouriscale", "FouriScale")


def add_options(shared: Any) -> None:
    """Register the settings page with the host's `modules.shared`."""
    choices = [AUTO, *(p.name for p in load_all(user_folder(shared))[0]), CUSTOM]
    dropdown = __import__("gradio").Dropdown

    def add(name: str, info: Any) -> None:
        shared.opts.add_option(f"fouriscale_{name}", info)

    option = shared.OptionInfo
    add(
        "default_preset",
        option(AUTO, "Default preset", dropdown, {"choices": choices}, section=SECTION).needs_reload_ui(),
    )
    add(
        "smallest_auto",
        option(
            0, "Auto does nothing while the longer side is smaller than this (pixels; 0: no limit)", section=SECTION
        ),
    )
    add(
        "user_folder",
        option(
            "", "Folder for your own presets (empty: user_presets in the extension's folder)", section=SECTION
        ).needs_reload_ui(),
    )
    add("tiled_decode", option(False, "FouriScale: decode large pictures in tiles", section=SECTION))
    add("tiled_from", option(2048, "Tiles from this longer side on (pixels)", section=SECTION))
    add("log_level", option("INFO", "Log level", dropdown, {"choices": list(LEVELS)}, section=SECTION))


def _read(shared: Any, name: str, default: Any) -> Any:
    data = getattr(getattr(shared, "opts", None), "data", None) or {}
    return data.get(f"fouriscale_{name}", default)


def user_folder(shared: Any) -> Path:
    """Where the user's presets are: as the settings page says, else in the extension's folder, which git ignores."""
    text = str(_read(shared, "user_folder", "") or "").strip()
    return Path(text).expanduser() if text else Path(__file__).resolve().parents[3] / "user_presets"


def default_preset(shared: Any) -> str:
    """The preset that the panel starts with; Auto where the one in the settings is no more."""
    name = str(_read(shared, "default_preset", AUTO) or AUTO)
    return name if exists(name, load_all(user_folder(shared))[0]) else AUTO


def environment(shared: Any, report: Report) -> Environment:
    """What the settings page says now. Problems in preset files are logged, never raised."""
    set_level(str(_read(shared, "log_level", "INFO")))
    presets, problems = load_all(user_folder(shared))
    for problem in problems:
        get_logger().warning("preset file left out: %s", problem)
    tiled = _whole(shared, "tiled_from", 2048) if _read(shared, "tiled_decode", False) else 0
    return Environment(presets, report, _custom_unet, _whole(shared, "smallest_auto", 0), tiled)


def _whole(shared: Any, name: str, default: int) -> int:
    """A number of the settings page; 0 for what is none."""
    try:
        return int(_read(shared, name, default) or 0)
    except (TypeError, ValueError):
        return 0


def _custom_unet() -> str:
    """The name of a UNet implementation that replaces the module (TensorRT and the like), or ""."""
    try:
        from modules import sd_unet
    except ImportError:
        return ""
    current = getattr(sd_unet, "current_unet", None)
    return "" if current is None else str(getattr(getattr(current, "option", None), "label", type(current).__name__))
