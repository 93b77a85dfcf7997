"""The script's arguments: what of the one table (`settings/settings.py`) the panel, the API and the X/Y/Z axes pass.

Positional order is a contract with API users: fields are only ever appended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import SettingsError, shown
from ...settings.fields import AUTO, CUSTOM
from ...settings.presets import AUTO_SETTINGS, Preset, choose, find
from ...settings.settings import ARGUMENTS, BY_NAME, SETTINGS_FIELDS, Settings

TITLE = "FouriScale"
FIELDS = tuple(field.name for field in ARGUMENTS)
CUSTOM_FIELDS = tuple(field.name for field in ARGUMENTS if field.custom)
_PLACES = {name: place for place, name in enumerate(FIELDS)}


@dataclass(frozen=True)
class ScriptArgs:
    """What the user asked for: each of `ARGUMENTS` is an attribute by its name. values: in their order, as
    `Field.from_argument` gives them.
    """

    values: tuple[Any, ...] = tuple(field.argument_default for field in ARGUMENTS)

    def __getattr__(self, name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(name)
        return self.values[_PLACES[name]]

    def replace(self, **changes: Any) -> ScriptArgs:
        """A copy with some arguments changed, which are not checked again."""
        return ScriptArgs(tuple(changes.get(name, value) for name, value in zip(FIELDS, self.values, strict=True)))


DEFAULTS = ScriptArgs()


@dataclass(frozen=True)
class Parsed:
    """Arguments and the names of the custom fields that were given explicitly (by name or by an X/Y/Z axis).

    refused: custom fields with a value that is not allowed, which is said by `resolve` if they count.
    """

    args: ScriptArgs
    explicit: frozenset[str] = frozenset()
    refused: tuple[SettingsError, ...] = ()

    def with_values(self, values: Mapping[str, Any]) -> Parsed:
        """A copy with some fields replaced, as if given by name. Raises SettingsError."""
        checked = {name: BY_NAME[name].from_argument(value) for name, value in values.items()}
        explicit = self.explicit | (set(checked) & set(CUSTOM_FIELDS))
        refused = tuple(error for error in self.refused if error.field not in checked)
        return Parsed(self.args.replace(**checked), frozenset(explicit), refused)


def parse(values: Sequence[Any]) -> Parsed:
    """Read what the host passes: positional values, or one mapping by field name as the first value.

    Raises SettingsError, naming the field, the value and what is allowed; never anything else. Custom fields by
    position come from controls that may be out of sight: a bad value there waits until it counts.
    """
    if len(values) and isinstance(values[0], Mapping):
        named = values[0]
        for name in named:
            if name not in FIELDS:
                raise SettingsError(_text(name), named[name], "unknown argument; known are " + ", ".join(FIELDS))
        if "enabled" not in named:
            named = {"enabled": True, **named}
        return Parsed(DEFAULTS).with_values(named)
    if len(values) > len(FIELDS):
        raise SettingsError("args", f"{len(values)} values", f"at most {len(FIELDS)}: " + ", ".join(FIELDS))
    given: dict[str, Any] = {}
    refused = []
    for field, value in zip(ARGUMENTS, values, strict=False):
        try:
            given[field.name] = field.from_argument(value)
        except SettingsError as error:
            if not field.custom:
                raise
            refused.append(error)
    return Parsed(DEFAULTS.replace(**given), refused=tuple(refused))


def _text(name: object) -> str:
    return name if isinstance(name, str) else shown(name)


def wants(values: Sequence[Any]) -> bool:
    """Whether the arguments ask for FouriScale at all, however broken the rest of them may be."""
    if not len(values):
        return False
    first = values[0]
    if isinstance(first, Mapping):
        first = first.get("enabled", True)
    return first not in (False, None, 0, "", "false", "False")


def resolve(
    parsed: Parsed, family: str, width: int, height: int, presets: Sequence[Preset] | None = None
) -> tuple[Settings, str]:
    """The settings for a model family and a size, and the name of the preset that they come from.

    Raises SettingsError for an unknown preset, one of another family, a value that `parse` refused and that counts, or
    values that do not fit together.
    """
    name, values = _preset(parsed.args.preset, family, width, height, presets)
    custom = frozenset(CUSTOM_FIELDS) if name == CUSTOM else parsed.explicit
    for error in parsed.refused:
        if error.field in custom:
            raise SettingsError(error.field, error.value, error.allowed)
    for field in SETTINGS_FIELDS:
        if field.position is None:
            continue
        value = field.to_setting(getattr(parsed.args, field.name))
        counts = field.name in custom if field.custom else value != field.to_setting(field.argument_default)
        if counts:
            values[field.name] = value
    return Settings.from_dict(values), name


def _preset(
    asked: str, family: str, width: int, height: int, presets: Sequence[Preset] | None
) -> tuple[str, dict[str, Any]]:
    """The name of the preset that is asked for, spelled as it is, and its values."""
    if asked.strip().lower() == CUSTOM.lower():
        return CUSTOM, {}
    preset = find(asked, presets)
    if preset is None:
        found = choose(family, width, height, presets)
        return AUTO, (found.settings if found else AUTO_SETTINGS).non_defaults()
    if not preset.fits(family):
        raise SettingsError("preset", asked, f"a preset for {family}, which this model is, or {AUTO}")
    return preset.name, preset.settings.non_defaults()
