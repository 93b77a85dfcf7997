"""Which pictures of a run are there already: whole, and made from the same. A picture says so itself; there is no other
book-keeping.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import SettingsError
from ..hosts.diffusers.pictures import RECORD
from .listing import Picture, Pictures

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def unfinished(wanted: Pictures, out: Path, tell: Callable[[str], None]) -> Sequence[int]:
    """Numbers of the pictures that are not there yet, or not whole. tell: told in a line what was found.

    Raises SettingsError for one that is there with other settings. Removes what a killed process left of them.
    """
    try:
        there = set(os.listdir(out))
    except FileNotFoundError:
        there = set()
    if not there:
        return range(len(wanted))
    left, names, damaged = [], set(), []
    for number in range(len(wanted)):
        name = wanted.name(number)
        if name in there:
            picture = wanted[number]
            made_from = read_record(picture.path)
            if made_from != picture.record:
                raise SettingsError("out", str(out), _changed(picture, made_from))
            if is_whole(picture.path):
                continue
            damaged.append(name)
        left.append(number)
        names.add(name)
    for name in there:
        if name.endswith(".partial") and name.removesuffix(".partial").rpartition(".")[0] in names:
            (out / name).unlink(missing_ok=True)
    if len(left) < len(wanted):
        tell(f"{len(wanted) - len(left)} of {len(wanted)} pictures are there already")
    if damaged:
        tell(f"damaged, and made anew: {', '.join(damaged[:4])}{', …' if damaged[4:] else ''}")
    return left


def is_whole(path: Path) -> bool:
    """Whether a picture can be decoded and all its check sums are right."""
    try:
        with Image.open(path) as image:
            image.load()
        with Image.open(path) as image:
            image.verify()  # reads on to the end
        with path.open("rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            return file.read() == PNG_END
    except (OSError, ValueError, SyntaxError):
        return False


def read_record(path: Path) -> dict[str, Any] | None:
    """What a picture says it was made from; None where it says nothing."""
    try:
        with Image.open(path) as image:  # reads no pixels
            found = json.loads(image.info.get(RECORD, ""))
    except (OSError, ValueError, SyntaxError):
        return None
    return found if isinstance(found, dict) else None


def _changed(picture: Picture, made_from: dict[str, Any] | None) -> str:
    """What to do about a picture that is there already, and what differs."""
    what = "it does not say from what it was made"
    if made_from is not None:
        old, new = _flat(made_from), _flat(picture.record)
        keys = [key for key in {**new, **old} if old.get(key) != new.get(key)]
        named = [f"{key} was {_told(old, key)}, now {_told(new, key)}" for key in keys[:4]]
        what = "; ".join(named + ["…"] * (len(keys) > 4))
    return (
        f"a folder without a {picture.path.name} made with other settings ({what}); choose another --out, or "
        "--no-resume to make its pictures anew"
    )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with those of its settings beside the rest."""
    settings = values.get("settings")
    method = {"method": "plain" if settings is None else "fouriscale"}
    return {**{k: v for k, v in values.items() if k != "settings"}, **method, **(settings or {})}


def _told(values: dict[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "default"
