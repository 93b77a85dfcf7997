"""The command's options for settings, made from the one table: names, kinds and help are those of its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from ..errors import SettingsError
from ..settings import SETTINGS_FIELDS, Field

F = TypeVar("F", bound=Callable[..., None])

# What an option that is not given means, where that is not told by its field.
UNSET = {"base": "the model's own", "dilation": "size over training size"}
_KINDS: dict[str, Any] = {"switch": bool | None, "freeu": bool | None, "number": float | None}


def with_settings(command: F) -> F:
    """`command` with an option for each setting that has one, in the place of its ``**chosen``.

    A parameter of the command's own goes before an option of the same name. An option that was not given is None.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            parameters += [_parameter(f) for f in SETTINGS_FIELDS if f.option and f.name not in signature.parameters]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    vars(command)["__signature__"] = signature.replace(parameters=parameters)
    return command


def _parameter(field: Field) -> inspect.Parameter:
    assert field.option is not None
    option = typer.Option(field.option, help=_help(field), show_default=UNSET.get(field.name, True))
    kind: Any = Annotated[_KINDS.get(field.kind, str | None), option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _help(field: Field) -> str:
    if field.kind == "choice":
        return ", ".join(field.choices) + ". " + field.help
    return ", ".join(field.choices) + ", or layer names. " + field.help if field.kind == "names" else field.help


def given(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What was given of the options of `with_settings`, as `Settings` takes it. Raises SettingsError."""
    found = {name: value for name, value in chosen.items() if value is not None}
    for field in SETTINGS_FIELDS:
        if field.kind == "size" and field.name in found:
            found[field.name] = _parsed(field.name, found[field.name])
    return {name: value for name, value in found.items() if value is not None}


def _parsed(name: str, text: str) -> tuple[int, int] | None:
    """(width, height) from "WIDTHxHEIGHT"; None from "". Raises SettingsError."""
    if not text:
        return None
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) != 2 or not all(s.strip().isdecimal() and len(s) < 10 for s in sides):
        raise SettingsError(name, text, "WIDTHxHEIGHT in pixels, such as 512x512")
    return int(sides[0]), int(sides[1])
