"""Presets that users save: entries of YAML files in a folder of their own, each under one name, written atomically.

A preset that is saved gets a file of its own. Files written by hand may hold several; saving or deleting one of those
changes that entry alone.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...errors import SettingsError
from ...settings.bounded_yaml import LARGEST
from ...settings.fields import CUSTOM
from ...settings.presets import PACKAGE, Preset, find, load, read_content, read_file, same_name
from ...settings.settings import Settings

_ALLOWED = re.compile(r"[\w][\w .,()×+-]{0,59}")
# Windows opens a device by these names, whatever comes behind a dot.
_DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where a preset of the user's is. others: entries beside it in its file. comments: whether the file has any."""

    path: Path
    content: Mapping[str, Any]
    index: int
    comments: bool

    @property
    def name(self) -> str:
        """The preset's name as the file has it."""
        return str(self.content["presets"][self.index]["name"])

    @property
    def others(self) -> int:
        """How many other presets the file holds."""
        return len(self.content["presets"]) - 1

    def loss(self) -> str:
        """What rewriting the file would take from it beside the preset, as a clause; "" where there is nothing."""
        return f", and {self.path.name} loses its comments" if self.comments else ""


def default_folder(package: Path = PACKAGE) -> Path:
    """Where the user's presets are unless told otherwise.

    In a checkout, which an extension is: user_presets beside the package; git ignores it. An installed package is no
    place for a user's files: there, a folder of the user's, as the system has them.
    """
    if not (package / "_presets").is_dir():
        return package.parent / "user_presets"
    if os.name == "nt":
        data = os.environ.get("APPDATA") or str(Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        data = str(Path.home() / "Library" / "Application Support")
    else:
        data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "fouriscale" / "user_presets"


def check_name(name: str) -> str:
    """The name, trimmed. Raises SettingsError unless it can be a file's name, on every system, in its folder."""
    name = name.strip()
    if not _ALLOWED.fullmatch(name) or name.endswith(".") or ".." in name:
        raise SettingsError("preset name", name, "1 to 60 letters, digits, spaces and . , ( ) × + - _, no leading dot")
    if _DEVICES.fullmatch(name):
        raise SettingsError("preset name", name, "a name that is not a device on Windows")
    if exists(name, load()):
        raise SettingsError("preset name", name, "a name that no preset of FouriScale has")
    return name


def place_of(folder: Path, name: str) -> Place | None:
    """Where the preset called so is; None if there is none. Files that cannot be read hold none."""
    for path in _files(folder):
        try:
            content = read_content(path)
        except SettingsError:
            continue
        for index, entry in enumerate(content["presets"]):
            if isinstance(entry, dict) and isinstance(entry.get("name"), str) and same_name(entry["name"], name):
                return Place(path, content, index, _has_comments(path))
    return None


def save(folder: Path, name: str, family: str, size: tuple[int, int], settings: Settings) -> Preset:
    """Write a preset, in place of the one of the same name, which may be spelled a little differently.

    Raises SettingsError for a bad name and for mistakes elsewhere in the preset's file, for which all of it is left
    out; OSError for a bad disk. The folder is as it was then.
    """
    name = check_name(name)
    entry: dict[str, Any] = {"name": name, "size": list(size)}
    entry |= {k: v for k, v in settings.non_defaults().items() if k != "family"}
    old = place_of(folder, name)
    if old is not None:
        read_file(old.path)
    if old is not None and old.content["family"] == family:
        entries = list(old.content["presets"])
        if "run" in entries[old.index]:  # how it was sampled is not among the controls
            entry["run"] = entries[old.index]["run"]
        entries[old.index] = entry
        path = old.path
        _write(path, {**old.content, "presets": entries})
    else:
        alone = old is not None and not old.others
        path = old.path if old is not None and alone else _free(folder, name)
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, {"family": family, "presets": [entry]})
        if old is not None and not alone:  # a file is for one family
            _write(old.path, _without(old))
    return next(preset for preset in read_file(path) if preset.name == name)


def delete(folder: Path, name: str) -> Place:
    """Remove a preset, and its file if it holds no other; says where it was.

    Raises SettingsError if there is no such preset of the user's, OSError for a bad disk.
    """
    found = None if exists(name, load()) else place_of(folder, name)
    if found is None or found.name.casefold() != name.strip().casefold():  # nearly the name is not enough here
        raise SettingsError("preset name", name, "a preset that you saved")
    if found.others:
        _write(found.path, _without(found))
    else:
        found.path.unlink()
    return found


def load_all(folder: Path) -> tuple[list[Preset], list[str]]:
    """Bundled presets, then the user's, and a line for every file that could not be read and every repeated name."""
    presets, problems = load(), []
    try:
        paths = _files(folder)
    except OSError as error:
        return presets, [str(SettingsError(folder.name, str(error), "a folder that can be read"))]
    for path in paths:
        try:
            found = read_file(path)
        except SettingsError as error:
            problems.append(str(error))
            continue
        for preset in found:
            if exists(preset.name, presets):
                taken = SettingsError(f"{path.name}: name", preset.name, "a name that no other preset has")
                problems.append(str(taken))
            else:
                presets.append(preset)
    return presets, problems


def exists(name: str, presets: list[Preset]) -> bool:
    """Whether `name` is Auto, Custom or one of `presets`."""
    if name.strip().lower() == CUSTOM.lower():
        return True
    try:
        find(name, presets)
    except SettingsError:
        return False
    return True


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yaml")) if folder.is_dir() else []


def _free(folder: Path, name: str) -> Path:
    """A file for a preset called so that is not there yet, whether or not the disk tells capitals from small letters.

    Raises SettingsError if a file that cannot be read has that name: the preset may be in it.
    """
    taken = {path.stem.casefold(): path for path in _files(folder)}
    stem, number = name, 1
    while stem.casefold() in taken:
        read_content(taken[stem.casefold()])
        number += 1
        stem = f"{name} ({number})"
    return folder / f"{stem}.yaml"


def _without(place: Place) -> dict[str, Any]:
    entries = [entry for index, entry in enumerate(place.content["presets"]) if index != place.index]
    return {**place.content, "presets": entries}


def _has_comments(path: Path) -> bool:
    """Whether a line has what looks like a comment; a text with " #" in quotes is taken for one too."""
    return re.search(r"(^|\s)#", path.read_text(encoding="utf-8-sig"), re.MULTILINE) is not None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the file, or what it links to, as a whole. A new file's mode is what the umask says, an old one's stays.

    Raises SettingsError if it could not be read again.
    """
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    if len(text.encode()) > LARGEST:
        raise SettingsError(path.name, f"{len(text.encode())} bytes", f"a file of at most {LARGEST} bytes")
    path = path.resolve()
    partial = path.with_name(f"{secrets.token_hex(8)}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
