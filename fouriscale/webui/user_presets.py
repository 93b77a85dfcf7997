"""Presets that users save: one YAML file each, in a folder of their own, written atomically."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import yaml

from ..errors import SettingsError
from ..presets import Preset, find, load, read_file, same_name
from ..settings import Settings
from .args import CUSTOM

_ALLOWED = re.compile(r"[\w][\w .,()×+-]{0,59}")


def check_name(name: str) -> str:
    """The name, trimmed. Raises SettingsError unless it can be a file's name that stays in its folder."""
    name = name.strip()
    if not _ALLOWED.fullmatch(name) or name.endswith(".") or ".." in name:
        raise SettingsError("preset name", name, "1 to 60 letters, digits, spaces and . , ( ) × + - _, no leading dot")
    if exists(name, load()):
        raise SettingsError("preset name", name, "a name that no preset of FouriScale has")
    return name


def save(folder: Path, name: str, family: str, size: tuple[int, int], settings: Settings) -> Preset:
    """Write a preset, replacing one of the same name. Raises SettingsError for a bad name, OSError for a bad disk."""
    preset = Preset(check_name(name), family, size, settings)
    values = {k: v for k, v in settings.non_defaults().items() if k != "family"}
    entry = {"name": preset.name, "size": list(size), **values}
    text = yaml.safe_dump({"family": family, "presets": [entry]}, sort_keys=False, allow_unicode=True)
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(suffix=".partial", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, _file(folder, preset.name))
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return preset


def delete(folder: Path, name: str) -> None:
    """Remove a preset. Raises SettingsError if there is no such preset of the user's."""
    path = _file(folder, check_name(name))
    if not path.is_file():
        raise SettingsError("preset name", name, "a preset that you saved")
    path.unlink()


def load_all(folder: Path) -> tuple[list[Preset], list[str]]:
    """Bundled presets, then the user's, and a line for every file that could not be read or repeats a name."""
    presets, problems = load(), []
    for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else []:
        try:
            for preset in read_file(path):
                if exists(preset.name, presets):
                    raise SettingsError(f"{path.name}: name", preset.name, "a name that no other preset has")
                presets.append(preset)
        except SettingsError as error:
            problems.append(str(error))
    return presets, problems


def _file(folder: Path, name: str) -> Path:
    """Where the preset called so is, or would be."""
    return next((path for path in sorted(folder.glob("*.yaml")) if same_name(path.stem, name)), folder / f"{name}.yaml")


def exists(name: str, presets: list[Preset]) -> bool:
    """Whether `name` is Auto, Custom or one of `presets`."""
    if name.strip().lower() == CUSTOM.lower():
        return True
    try:
        find(name, presets)
    except SettingsError:
        return False
    return True
