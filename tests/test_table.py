"""The one table: a field that is added to it is found on every face, and it agrees with the methods."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fouriscale.methods import method_class
from fouriscale.settings.fields import METHODS
from fouriscale.settings.settings import ARGUMENTS, SETTINGS_FIELDS

OWN = ("fouriscale", "tools")


class Component:
    """What a gradio component or layout was made with."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.args, self.value = args, kwargs.get("value", args[0] if args else None)
        self.__dict__ |= kwargs

    def __enter__(self) -> Component:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def extra(self) -> Component:
        return self

    def change(self, *_: Any, **event: Any) -> Component:
        self.event = event
        return self

    click = then = change


def gradio() -> ModuleType:
    """A stand-in: every name is a kind of component, and updates are dictionaries."""
    module = ModuleType("gradio")
    module.update = lambda **changes: changes  # type: ignore[attr-defined]
    for name in ("Row", "Column", "Accordion", "HTML", "State"):
        setattr(module, name, type(name, (Component,), {}))
    for name in ("Button", "Checkbox", "Slider", "Dropdown", "Radio", "Textbox"):
        setattr(module, name, type(name, (Component,), {}))
    return module


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports the product anew, with a stand-in for gradio; what the other tests have imported comes back."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in OWN}
    for name in kept:
        del sys.modules[name]
    monkeypatch.setitem(sys.modules, "gradio", gradio())
    yield importlib.import_module
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def wider(fresh: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same with one more field in the table, before anything else has read it."""
    fields, table = fresh("fouriscale.settings.fields"), fresh("fouriscale.settings.settings")
    sharpness = fields.Field(
        "number", "Sharpness (-1: by model)", "How sharp.", low=0.0, high=2.0, position=len(table.ARGUMENTS),
        argument=-1.0, unset=-1.0, key="sharpness", axis="Sharpness", option="--sharpness", layer="advanced",
        methods=("fouriscale",),
    )  # fmt: skip
    wide = dataclasses.make_dataclass(
        "Settings", [("sharpness", Any, fields.chosen(sharpness))], bases=(table.Settings,), frozen=True
    )
    table.Settings = wide
    table.SETTINGS_FIELDS = fields.named(wide)
    table.FIELDS = (*fields.named(table.PanelChoices), *table.SETTINGS_FIELDS)
    table.BY_NAME = {field.name: field for field in table.FIELDS}
    table.ARGUMENTS = (*table.ARGUMENTS, table.BY_NAME["sharpness"])
    for name in ("Settings", "SETTINGS_FIELDS", "FIELDS", "BY_NAME", "ARGUMENTS"):
        setattr(sys.modules["fouriscale.settings"], name, getattr(table, name))
    return fresh


def test_settings_and_arguments(wider: Callable[[str], Any]) -> None:
    settings, args = wider("fouriscale").Settings, wider("fouriscale.hosts.webui.args")
    error = wider("fouriscale").SettingsError
    assert settings(sharpness=1).sharpness == 1.0
    with pytest.raises(error, match=r"^sharpness = 3 is not allowed: a number from 0 to 2, or empty for the default$"):
        settings(sharpness=3)
    assert args.DEFAULTS.sharpness == -1.0
    by_position = args.parse([True, "Auto", *[None] * (len(ARGUMENTS) - 2), "1.5"])
    for parsed, wanted in ((by_position, 1.5), (args.parse([{"sharpness": 0}]), 0.0), (args.parse([True]), None)):
        assert args.resolve(parsed, "sd15", 1000, 1000)[0].sharpness == wanted
    with pytest.raises(error, match=r"^sharpness = 'x' is not allowed: a number from -1 to 2$"):
        args.parse([{"sharpness": "x"}])


def test_schema_axis_and_infotext(wider: Callable[[str], Any]) -> None:
    pytest.importorskip("fastapi")
    assert wider("fouriscale.hosts.webui.api").schema_of_arguments()["arguments"][-1] == {
        "position": len(ARGUMENTS), "name": "sharpness", "type": "float", "default": -1.0, "minimum": -1.0,
        "maximum": 2.0,
    }  # fmt: skip
    host = SimpleNamespace(axis_options=[], AxisOption=lambda *args, **more: SimpleNamespace(label=args[0], args=args))
    wider("fouriscale.hosts.webui.axes").add_axes(host, list)
    axis, p = host.axis_options[-1], SimpleNamespace()
    axis.args[2](p, 0.5, [])
    assert (axis.label, axis.args[1], *vars(p).values()) == ("[FouriScale] Sharpness", float, {"sharpness": 0.5})

    texts, infotext = wider("fouriscale.settings.infotext"), wider("fouriscale.hosts.webui.infotext")
    settings = wider("fouriscale").Settings
    fields = texts.to_fields(settings(sharpness=0.3, rounding="auto"), "Auto", texts.AUTO_SETTINGS, (0.2, 0.6))
    assert fields == {"FouriScale": True, "FouriScale sharpness": 0.3}
    assert texts.from_fields({key: str(value) for key, value in fields.items()}).sharpness == 0.3
    assert infotext.paste_functions()["sharpness"]({"FouriScale": "True", "FouriScale sharpness": "0.3"}) == 0.3


def test_panel_documents_and_translations(wider: Callable[[str], Any]) -> None:
    panel = wider("fouriscale.hosts.webui.panel")
    environment = SimpleNamespace(presets=())
    host = panel.PanelHost(Component, lambda: None, lambda: environment, lambda: None)
    controls = panel.build("txt2img", host).controls
    assert len(controls) == len(ARGUMENTS) + 1
    (slider, method) = controls[-1], controls[next(f.position for f in ARGUMENTS if f.name == "method")]
    assert type(slider).__name__ == "Slider"
    assert (slider.args, slider.value, slider.label) == ((-1.0, 2.0), -1.0, "Sharpness (-1: by model)")
    assert slider.elem_id == "txt2img_fouriscale_sharpness"

    def usable(name: str) -> dict[str, bool]:
        changes = zip(method.event["outputs"], method.event["fn"](name), strict=True)
        return {
            control.elem_id.removeprefix("txt2img_fouriscale_"): change["interactive"] for control, change in changes
        }

    assert set(usable("fouriscale").values()) == {True}
    assert not any(usable("attn-entropy").values())
    found = usable("scalecrafter")
    assert {name for name, able in found.items() if able} == {"stop", "dilation", "layers", "guidance", "low_memory"}
    assert "sharpness" in found

    tables = wider("tools.doc_tables")
    assert (
        "| Sharpness (-1: by model) | `sharpness` | −1 | Sharpness | `FouriScale sharpness` |"
        in tables.controls_table()
    )
    assert f"| {len(ARGUMENTS)} | `sharpness` | `-1` | How sharp." in tables.api_table()
    assert '"Sharpness (-1: by model)"' in wider("tools.localization_template").template()


@pytest.mark.parametrize("method", METHODS)
def test_fields_concern_what_the_methods_say(method: str) -> None:
    everybodys = {field.name for field in SETTINGS_FIELDS if not field.methods}
    named = {field.name for field in SETTINGS_FIELDS if field.methods and method in field.methods}
    assert named == method_class(method).concerns - everybodys


def test_positions_are_a_row_and_names_are_told_once() -> None:
    assert [field.position for field in ARGUMENTS] == list(range(len(ARGUMENTS)))
    for attribute in ("key", "axis", "label", "option"):
        told = [value for field in ARGUMENTS if (value := getattr(field, attribute)) is not None]
        assert len(set(told)) == len(told)
