"""Reads the authors' YAML configurations, with the text files that they name, as they are.

What they mean is measured against the model at hand: `ReferenceConfig.settings` leaves out whatever the model would do
anyway, so that a published configuration becomes the settings of its preset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import SettingsError
from ..maths import sizes
from ..maths.sizes import Size
from ..settings.settings import LAYER_SETS, Settings
from ..unet.structure import Structure

PIXELS = 8  # per latent
LARGEST = 2**20  # bytes; the authors' files have a few thousand
_SIDES = ("latent_height", "latent_width", "pixel_height", "pixel_width", "base_height", "base_width")
_NEEDED = ("start_step", "stop_step", "layer_settings", "base_settings", "progressive", "num_inference_steps")
_WHOLE = {"start_step": 0, "stop_step": 0, "num_inference_steps": 1, "inference_batch_size": 1} | {
    "num_iters_per_prompt": 1, **dict.fromkeys(_SIDES, 8),
}  # fmt: skip
FIELDS = (*_NEEDED, "inference_batch_size", "num_iters_per_prompt", *_SIDES)


@dataclass(frozen=True)
class Entry:
    """A value and where it was read: "FILE, line N: FIELD"."""

    value: Any
    where: str

    def refused(self, allowed: str) -> SettingsError:
        """The error that says so."""
        return SettingsError(self.where, self.value, allowed)


@dataclass(frozen=True)
class ReferenceConfig:
    """One of the authors' runs. size: (width, height) in pixels. batch, count: pictures at once, pictures per prompt.

    start, stop: fractions of the run. layers: names of convolutions; none switch the method off. base: (width, height)
    in pixels that the dilation is measured against; None for SDXL, whose `bases` hold what to choose from. periods: for
    SD, (height, width) of each layer's feature map at the training size. Both may be empty: the model's own.
    """

    file: str
    size: Size
    steps: int
    batch: int = 1
    count: int = 1
    start: float = 0.0
    stop: float = 0.0
    layers: tuple[Entry, ...] = ()
    base: Size | None = None
    bases: tuple[Size, ...] = ()
    periods: dict[str, Entry] = dataclasses.field(default_factory=dict)
    is_xl: bool = False

    def settings(self, structure: Structure) -> Settings:
        """What the run means for a model. Raises SettingsError, naming file and line, for what does not fit it."""
        if self.is_xl != (structure.family == "sdxl"):
            needed = "one without base_height" if structure.family == "sdxl" else "one with base_height and base_width"
            raise SettingsError("config", self.file, f"{needed}, since this model is {structure.family}")
        if not self.layers:
            return Settings(start=self.start, stop=self.stop, dilation=1.0)
        return Settings(
            start=self.start, stop=self.stop, base=self._base(structure), layers=self._layers(structure)
        )  # fmt: skip

    def _layers(self, structure: Structure) -> str:
        known = {layer.name: layer for layer in structure.convs}
        for entry in self.layers:
            if entry.value not in known:
                raise entry.refused(
                    f"a 3×3 convolution of this model's blocks; names look like {structure.convs[0].name}"
                )
            self._check_period(entry, known[entry.value].role, known[entry.value].level)
        wanted = {entry.value for entry in self.layers}
        for name in LAYER_SETS:
            if {layer.name for layer in structure.select(name, structure.family)} == wanted:
                return name
        return ",".join(name for name in known if name in wanted)

    def _check_period(self, layer: Entry, role: str, level: int) -> None:
        """The filter's period is the training size of the layer's input; upsamplers are not filtered."""
        if self.base is None or not self.periods or role == "upsampler":
            return
        expected = tuple(side / PIXELS / 2**level for side in reversed(self.base))
        entry = self.periods.get(layer.value)
        allowed = "{:g},{:g}, since base_height and base_width are {:g} and {:g}"
        text = allowed.format(*expected, *(side / PIXELS for side in reversed(self.base)))
        if entry is None:
            raise layer.refused(f"a layer that base_settings has a line for ({text})")
        if entry.value != expected:
            raise SettingsError(entry.where, "{:g},{:g}".format(*entry.value), text)

    def _base(self, structure: Structure) -> Size | None:
        if not self.is_xl:
            return None if self.base == (structure.base, structure.base) else self.base
        if not self.bases:
            return None
        chosen = min(self.bases, key=lambda base: _padding(self.size, base))
        return None if chosen == sizes.nearest_bucket(self.size, structure.base) else chosen


def _padding(size: Size, base: Size) -> tuple[bool, int, int]:
    """The authors take the first base with equal scales and the least padding, and fail where no base has equal scales;
    then it is here the one with the smallest larger scale, as for the presets.
    """
    across, down = (-(-side // b) for side, b in zip(size, base, strict=True))
    scale = max(across, down)
    return across != down, 0 if across == down else scale, scale * sum(base) - sum(size)


def read(path: str | Path) -> ReferenceConfig:
    """Read a configuration and the files that it names. Raises SettingsError, naming file, line, field and value."""
    path = Path(path)
    fields = _fields(path)
    for name in _NEEDED:
        if name not in fields:
            raise SettingsError(f"{path.name}: {name}", None, "a value; the field is missing")
    steps = fields["num_inference_steps"].value
    is_xl = "base_height" not in fields and "base_width" not in fields
    start, stop = _window(fields, steps)
    base, bases, periods = None, (), {}
    if not is_xl:
        base = tuple(PIXELS * _need(path, fields, name).value for name in ("base_width", "base_height"))
    settings_file = _lines(path, fields["base_settings"])
    if is_xl:
        bases = tuple(_pairs(settings_file, _ratio, _bucket).values())
    else:
        periods = _pairs(settings_file, str, lambda pair, entry: Entry(pair, entry.where))
    return ReferenceConfig(
        path.name, _size(path, fields), steps, _optional(fields, "inference_batch_size"),
        _optional(fields, "num_iters_per_prompt"), start, stop, tuple(_lines(path, fields["layer_settings"])),
        base, bases, periods, is_xl,
    )  # fmt: skip


def _fields(path: Path) -> dict[str, Entry]:
    """The file's fields, each checked by itself."""
    text = _text("config", path, [path])
    found: dict[str, Entry] = {}
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise SettingsError(path.name, text[:40], "a mapping with the fields " + ", ".join(FIELDS))
        for key, node in root.value:
            where = f"{path.name}, line {key.start_mark.line + 1}: "
            if not (isinstance(key, yaml.ScalarNode) and isinstance(node, yaml.ScalarNode)):
                raise SettingsError(where + str(key.value)[:40], node.id, "a single value, as all fields have")
            name = key.value
            entry = Entry(_value(loader, node), where + name)
            _check(name, entry)
            if name in found:
                raise entry.refused("one line; this field is there twice")
            found[name] = entry
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = path.name if mark is None else f"{path.name}, line {mark.line + 1}"
        raise SettingsError(where, getattr(error, "problem", None) or str(error), "readable YAML") from None
    except RecursionError:
        raise SettingsError(path.name, text[:40], "a mapping of names to single values") from None
    return found


def _value(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    """What YAML makes of a value; its text where that has no such value, as in the 13th month."""
    try:
        return loader.construct_object(node)
    except (ValueError, KeyError, OverflowError):
        return node.value[:40]


def _check(name: str, entry: Entry) -> None:
    value = entry.value
    if name not in FIELDS:
        raise entry.refused("unknown field; known are " + ", ".join(FIELDS))
    if name in _WHOLE:
        low, high = _WHOLE[name], 512 if name.startswith("base_") else 10_000
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise entry.refused(f"a whole number from {low} to {high}")
    elif name == "progressive":
        if not isinstance(value, bool):
            raise entry.refused("true or false")
    elif value is not None and (not isinstance(value, str) or not value.strip()):
        raise entry.refused("the path of a text file, or null")


def _need(path: Path, fields: dict[str, Entry], name: str) -> Entry:
    if name not in fields:
        raise SettingsError(f"{path.name}: {name}", None, "a value; the field is missing")
    return fields[name]


def _optional(fields: dict[str, Entry], name: str) -> int:
    return fields[name].value if name in fields else 1


def _window(fields: dict[str, Entry], steps: int) -> tuple[float, float]:
    """Start and stop as fractions. Without annealing the strength is full until the stop, whatever the start."""
    start, stop = fields["start_step"].value, fields["stop_step"].value
    if not fields["progressive"].value or start >= stop:
        start = stop = min(stop, steps)
    if stop > steps:
        raise fields["stop_step"].refused(f"a step from 0 to num_inference_steps ({steps}), since it is annealed")
    return start / steps, stop / steps


def _size(path: Path, fields: dict[str, Entry]) -> Size:
    """(width, height) in pixels, from the latent's sides or the picture's, which must agree where both are given."""
    found = []
    for side in ("width", "height"):
        latent, pixel = fields.get(f"latent_{side}"), fields.get(f"pixel_{side}")
        if latent is None and pixel is None:
            raise SettingsError(f"{path.name}: latent_{side}", None, "a value; the field is missing")
        if latent is not None and pixel is not None and pixel.value != PIXELS * latent.value:
            raise pixel.refused(f"{PIXELS * latent.value}, {PIXELS} times latent_{side}")
        pixels = pixel.value if pixel is not None else PIXELS * latent.value  # type: ignore[union-attr]
        try:
            sizes.check_picture_size(pixels, pixels)
        except SettingsError as error:
            raise (pixel or latent).refused(error.allowed) from None  # type: ignore[union-attr]
        found.append(pixels)
    return found[0], found[1]


def _text(where: str, name: Path, tried: list[Path]) -> str:
    """The first of the files `tried` that exists."""
    for path in tried:
        if path.is_file():
            if path.stat().st_size > LARGEST:
                raise SettingsError(where, str(name), f"a text file of at most {LARGEST} bytes")
            try:
                return path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(where, str(name), f"a readable UTF-8 text file ({error})") from None
    places = ", ".join(dict.fromkeys(str(path.absolute()) for path in tried))
    raise SettingsError(where, str(name), f"a file that exists; tried {places}")


def _lines(config: Path, entry: Entry) -> list[Entry]:
    """The non-empty lines of the file that a field names; none where it is null.

    The authors' paths count from the current folder, which is above their configurations' own.
    """
    if entry.value is None:
        return []
    path = Path(entry.value.strip())
    folder = config.absolute().parent
    text = _text(entry.where, path, [Path.cwd() / path, folder / path, folder.parent / path])
    lines = [line.strip() for line in text.splitlines()]
    return [Entry(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1) if line]


def _pairs(lines: list[Entry], key: Callable[[str], Any], value: Callable[[Any, Entry], Any]) -> dict[str, Any]:
    """KEY:HEIGHT,WIDTH of each line; of equal keys the last counts, in the place of the first."""
    found = {}
    for line in lines:
        name, colon, sides = line.value.partition(":")
        try:
            height, width = (float(side) for side in sides.split(","))
            key(name)
        except ValueError:
            colon = ""
        if not colon or not 0 < height < 1e5 or not 0 < width < 1e5:
            form = "RATIO:HEIGHT,WIDTH" if key is _ratio else "LAYER:HEIGHT,WIDTH"
            raise line.refused(f"{form} with numbers above 0")
        found[name.strip()] = value((height, width), line)
    return found


def _ratio(text: str) -> float:
    return float(text)


def _bucket(pair: tuple[float, float], line: Entry) -> Size:
    try:
        base = Settings(base=(pair[1], pair[0])).base  # type: ignore[arg-type]
    except SettingsError as error:
        raise line.refused("RATIO:HEIGHT,WIDTH with " + error.allowed) from None
    assert base is not None
    return base
