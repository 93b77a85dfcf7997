"""Presets: named settings for a model family and a picture size, read from YAML files, one per family."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SettingsError, shown
from ..maths.sizes import Size, check_picture_size
from .bounded_yaml import read_yaml
from .fields import AUTO, FAMILIES
from .settings import Settings

ANY = "any"
PACKAGE = Path(__file__).resolve().parent.parent
# What Auto means where no preset is for the very size: measured to be best between whole multiples (docs/quality.md).
AUTO_SETTINGS = Settings(rounding="auto")
_SETTINGS_FIELDS = frozenset(f.name for f in dataclasses.fields(Settings)) - {"family"}
_RUN_FIELDS: dict[str, tuple[type, ...]] = {
    "scheduler": (str,), "eta": (int, float), "steps": (int,), "cfg": (int, float),
}  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """A named set of settings.

    family: that it is for, or "any". size: (width, height) in pixels that it is meant for, or None for any size, which
    only presets of family "any" may be for. run: how the authors sampled.
    """

    name: str
    family: str
    size: Size | None
    settings: Settings
    run: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, family: str) -> bool:
        """Whether it is meant for a model of `family`."""
        return self.family in (family, ANY)


def bundled_folder(package: Path = PACKAGE) -> Path:
    """The folder of the presets that ship with FouriScale, in an installed package or in a checkout."""
    installed = package / "_presets"  # only there in an installed package, beside which "presets" is anybody's
    return installed if installed.is_dir() else package.parent / "presets"


def load(folders: Iterable[Path] | None = None) -> list[Preset]:
    """All presets of `folders` (the bundled ones by default), in the order of file names and entries.

    Raises SettingsError, naming the file and the field, for a file that is not as it should be.
    """
    found: list[Preset] = []
    for folder in [bundled_folder()] if folders is None else folders:
        for path in sorted(folder.glob("*.yaml")):
            found += read_file(path)
    return found


def read_file(path: Path) -> list[Preset]:
    """The presets of one file. Raises SettingsError, naming the file and the field."""
    content = read_content(path)
    return [_preset(path.name, entry, content) for entry in content["presets"]]


def read_content(path: Path) -> dict[str, Any]:
    """A preset file as it is written: a mapping whose family and list of presets are there, the rest unchecked.

    Raises SettingsError, naming the file; never anything else.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("presets"), list):
        raise SettingsError(path.name, type(content).__name__, "a mapping with the keys family and presets")
    if content.get("family") not in (*FAMILIES, ANY):
        raise SettingsError(f"{path.name}: family", content.get("family"), "one of " + ", ".join((*FAMILIES, ANY)))
    return content


def _preset(file: str, entry: Any, content: dict[str, Any]) -> Preset:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise SettingsError(f"{file}: presets", entry, "mappings that each have a name")
    where = f"{file}: {entry['name']}"
    run = {**_run(f"{file}: run", content.get("run")), **_run(f"{where}: run", entry.get("run"))}
    values = {k: v for k, v in entry.items() if k not in ("name", "size", "run")}
    for key in values:
        if key not in _SETTINGS_FIELDS:
            known = "name, size, run, " + ", ".join(sorted(_SETTINGS_FIELDS))
            raise SettingsError(f"{where}: {_text(key)}", values[key], "unknown field; known are " + known)
    try:
        settings = Settings.from_dict(values)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error.field}", error.value, error.allowed) from None
    any_size = content["family"] == ANY and "size" not in entry
    size = None if any_size else _size(f"{where}: size", entry.get("size"))
    return Preset(entry["name"], content["family"], size, settings, run)


def _run(where: str, run: Any) -> dict[str, Any]:
    if run is None:
        return {}
    if not isinstance(run, dict):
        raise SettingsError(where, run, "a mapping of " + ", ".join(_RUN_FIELDS))
    for key, value in run.items():
        kinds = _RUN_FIELDS.get(key)
        if kinds is None:
            raise SettingsError(f"{where}.{_text(key)}", value, "unknown field; known are " + ", ".join(_RUN_FIELDS))
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise SettingsError(f"{where}.{key}", value, "a text" if kinds == (str,) else "a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"{where}.{key}", value, "a finite number")
    return run


def _text(key: object) -> str:
    return key if isinstance(key, str) else shown(key)


def _size(where: str, size: Any) -> Size:
    try:
        width, height = size
        check_picture_size(width, height)
    except (TypeError, ValueError):  # SettingsError is a ValueError
        raise SettingsError(where, size, "[width, height] in pixels, multiples of 8 from 64 to 16384") from None
    return width, height


def _key(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower().replace("×", "x"))


def same_name(one: str, other: str) -> bool:
    """Whether two names mean the same preset: case, spaces and punctuation do not count."""
    return _key(one) == _key(other)


def find(name: str, presets: Iterable[Preset] | None = None) -> Preset | None:
    """The preset called `name` (case, spaces and punctuation do not count); None for "Auto".

    Raises SettingsError, listing the names, for an unknown one.
    """
    if same_name(name, AUTO):
        return None
    known = load() if presets is None else list(presets)
    for preset in known:
        if same_name(preset.name, name):
            return preset
    raise SettingsError("preset", name, "one of " + ", ".join((AUTO, *(p.name for p in known))))


def choose(family: str, width: int, height: int, presets: Iterable[Preset] | None = None) -> Preset | None:
    """What "Auto" means for this family and size: the preset for the size (or turned by 90°), else None.

    None stands for `AUTO_SETTINGS`: the family's own defaults, which follow the authors' runs by scale.
    """
    known = [p for p in (load() if presets is None else presets) if p.family == family]
    for wanted in ((width, height), (height, width)):
        for preset in known:
            if preset.size == wanted:
                return preset
    return None
