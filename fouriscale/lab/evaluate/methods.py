"""What is compared: methods and sizes, by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ...errors import SettingsError
from ...settings.settings import Settings

PLAIN, OURS, ENLARGED = "plain", "fouriscale", "enlarged"
BASE_PICTURES = "reference"  # in a folder of results: plain pictures of the training size, to compare sets with
# name -> (width, height) in base sides
SIZES: dict[str, tuple[float, float]] = {
    "1x": (1, 1), "2x": (2, 2), "1:2": (1, 2), "2:1": (2, 1), "4x": (4, 4), "1.25x": (1.25, 1.25), "1.5x": (1.5, 1.5),
    "2x-area": (2**0.5, 2**0.5),
}  # fmt: skip
BASE_SIZE = "1x"


@dataclass(frozen=True)
class Method:
    """One way to make a picture; its definition is None for plain, else the Settings' values, or how it is enlarged.

    hires "latent": a plain picture of the base's area and the size's shape, its latents enlarged bilinearly, then
    image to image at strength `denoise`; "pixel": the same, but decoded, enlarged by Lanczos and encoded.
    With denoise 0 the enlarged picture itself: what does not beat its detail has added nothing.
    """

    name: str
    definition: dict[str, Any] | None = field(default_factory=dict)

    @property
    def hires(self) -> str | None:
        """ "latent", "pixel", or None."""
        return (self.definition or {}).get("hires")

    @property
    def settings(self) -> Settings | None:
        """None: the UNet stays plain. Raises SettingsError."""
        return None if self.definition is None or self.hires else Settings.from_dict(self.definition)


METHODS: dict[str, dict[str, Any] | None] = {
    PLAIN: None,
    OURS: {},
    "no-guidance": {"guidance": False},
    "no-filter": {"filter": False},
    "down+mid": {"layers": "down+mid"},
    "mid": {"layers": "mid"},
    "scalecrafter": {"method": "scalecrafter"},
    "attn-entropy": {"method": "attn-entropy"},
    "fast": {"fast": True},
    "hires-latent": {"hires": "latent", "denoise": 0.55},
    "hires-pixel": {"hires": "pixel", "denoise": 0.55},
    "hires-pixel-0.3": {"hires": "pixel", "denoise": 0.3},
    ENLARGED: {"hires": "pixel", "denoise": 0.0},
}
ALLOWED = "all, or some of " + ", ".join(METHODS) + ', or NAME={"setting": value}'


def parse_methods(text: str) -> list[Method]:
    """Methods from "plain,fouriscale,mine={...}", in this order, plain first. Raises SettingsError."""
    if text.strip() == "all":
        text = ",".join(METHODS)
    found = {PLAIN: Method(PLAIN, None)}
    definition: dict[str, Any] | None
    rest = text.strip()
    while rest:
        head, comma, _ = rest.partition(",")
        if "=" in head:
            name, _, tail = rest.partition("=")
            definition, rest = _object(name.strip(), tail)
        else:
            name, rest = head, rest[len(head) + len(comma) :]
            if name.strip() not in METHODS:
                raise SettingsError("methods", name.strip(), ALLOWED)
            definition = METHODS[name.strip()]
        name = name.strip()
        method = Method(name, definition)
        if not name or name == BASE_PICTURES or not set(name) <= set(_NAME):
            raise SettingsError("methods", name, "a name of letters, digits, '+', '-', '_' and '.'")
        if found.get(name, method) != method:
            raise SettingsError("methods", name, "a name that is not taken")
        _check(method)
        found[name] = method
        rest = rest.strip()
    if not text.strip():
        raise SettingsError("methods", text, ALLOWED)
    return list(found.values())


_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-_."


def _object(name: str, text: str) -> tuple[dict[str, Any], str]:
    """The JSON object at the start of `text`, and what follows the comma after it."""
    allowed = f'{name or "NAME"}={{"setting": value}}, a JSON object'
    text = text.lstrip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):  # no JSON, numbers of thousands of digits, nesting without end
        raise SettingsError("methods", text, allowed) from None
    rest = text[end:].strip()
    if not isinstance(value, dict) or rest[:1] not in ("", ","):
        raise SettingsError("methods", text, allowed)
    return value, rest[1:]


def _check(method: Method) -> None:
    if method.hires is None:
        _ = method.settings
        return
    definition = method.definition or {}
    if method.hires not in ("latent", "pixel") or set(definition) - {"hires", "denoise"}:
        raise SettingsError("methods", definition, '{"hires": "latent" or "pixel", "denoise": a number from 0 to 1}')
    denoise = definition.setdefault("denoise", 0.55)
    if isinstance(denoise, bool) or not isinstance(denoise, int | float) or not 0 <= denoise <= 1:
        raise SettingsError("denoise", denoise, "a number from 0 to 1")


def parse_sizes(text: str) -> list[str]:
    """Names from "1x,2x"; the base size comes first where it is asked for. Raises SettingsError."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if names == ["all"]:
        names = list(SIZES)
    for name in names:
        if name not in SIZES:
            raise SettingsError("sizes", name, "one of " + ", ".join(SIZES) + ", or all")
    return names


def pixels(name: str, base: int) -> tuple[int, int]:
    """(width, height) of a size, multiples of 8, for a model trained at base × base."""
    width, height = (max(8, 8 * round(side * base / 8)) for side in SIZES[name])
    return width, height


def first_pass(width: int, height: int, base: int) -> tuple[int, int]:
    """(width, height) with the area of base × base and the shape of width × height, in multiples of 8 from 64."""
    ratio = base / (width * height) ** 0.5
    return max(64, 8 * round(width * ratio / 8)), max(64, 8 * round(height * ratio / 8))
