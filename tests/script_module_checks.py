"""The script with a real gradio. Run by test_script_module.py, once with the gradio of each host.

Nothing here may need diffusers: it cannot be imported beside the packages that an old gradio asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")
import gradio as gr

from fouriscale import Settings
from fouriscale.hosts.webui.args import DEFAULTS, FIELDS, parse, resolve
from fouriscale.hosts.webui.infotext import LABELS
from fouriscale.hosts.webui.page import build_page
from fouriscale.hosts.webui.panel import PanelHost, build
from fouriscale.hosts.webui.user_presets import load_all, save
from fouriscale.settings.fields import LAYER_SETS, PASSES
from fouriscale.settings.presets import load
from fouriscale.settings.settings import BY_NAME
from page_server import Skeleton
from webui_standin import EVENTS, Host

TABS = ("txt2img", "img2img")


@pytest.fixture(params=["class", "function"])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """The hosts' InputAccordion is a class on one of them, a function on the other."""
    if hasattr(gr, "component_meta"):  # gradio 4 writes a file beside the source of each new component
        monkeypatch.setattr(gr.component_meta, "create_or_modify_pyi", lambda *_: None)
    host = Host(monkeypatch, unet=Skeleton())
    host.options["fouriscale_user_folder"] = str(tmp_path)
    kind = switch_accordion()
    host.module.InputAccordion = kind if request.param == "class" else lambda value=None, **more: kind(value, **more)
    return host


def switch_accordion() -> type:
    """A checkbox that is never seen, and an accordion that follows it."""

    class Switch(gr.Checkbox):  # type: ignore[misc, name-defined]
        def __init__(self, value: Any = None, **kwargs: Any):
            name = kwargs.pop("elem_id")
            super().__init__(value, elem_id=f"{name}-checkbox", visible=False, **kwargs)
            self.name, self.accordion = name, gr.Accordion(kwargs["label"], open=value, elem_id=name)

        def extra(self) -> Any:
            return gr.Column(elem_id=f"{self.name}-extra", min_width=0)

        def __enter__(self) -> Switch:
            self.accordion.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self.accordion.__exit__(*error)

        def get_block_name(self) -> str:
            return "checkbox"

    return Switch


def page(host: Host) -> tuple[Any, dict[str, Any], dict[str, list[Any]], dict[str, Any]]:
    """A page with both tabs, as the hosts build it: the Blocks, the scripts, their controls and the size sliders."""
    scripts, controls, sizes = {}, {}, {}
    with gr.Blocks() as blocks:
        for tab in TABS:
            script = scripts[tab] = host.module.FouriScaleScript()
            script.is_img2img = tab == "img2img"
            for side in ("width", "height"):
                name = f"{tab}_{side}"
                sizes[name] = gr.Slider(64, 2048, value=512, step=8, label=side.title(), elem_id=name)
                script.after_component(sizes[name], elem_id=name, label=side.title())
                script.after_component(gr.Button(elem_id=f"x_{name}"), elem_id=f"x_{name}")
            controls[tab] = script.ui(script.is_img2img)
    return blocks, scripts, controls, sizes


def elements(blocks: Any) -> list[str]:
    """The element ids on a page."""
    return [block.elem_id for block in blocks.blocks.values() if getattr(block, "elem_id", None)]


def function(blocks: Any, name: str, index: int = 0) -> Callable[..., Any]:
    """The handler called so; the tabs have one each."""
    entries = blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns
    return [entry.fn for entry in entries if getattr(entry.fn, "__name__", "") == name][index]


def test_controls_are_the_arguments(host: Host) -> None:
    _, _, controls, _ = page(host)
    for tab in TABS:
        assert len(controls[tab]) == len(FIELDS)
        assert [control.value for control in controls[tab]] == [getattr(DEFAULTS, name) for name in FIELDS]
        names = [control.elem_id.removeprefix(f"{tab}_fouriscale_") for control in controls[tab]]
        assert names == ["enabled-checkbox", *FIELDS[1:]]
        assert parse([control.value for control in controls[tab]]).args == DEFAULTS
        labels = [control.label for control in controls[tab]]
        assert len(set(labels)) == len(labels)  # the hosts remember values by label


def test_what_the_method_has_no_use_for_is_greyed_out(host: Host) -> None:
    """In its own tab alone; a panel begins with all of them."""
    blocks, _, controls, _ = page(host)
    dependent = [name for name in FIELDS if BY_NAME[name].methods]
    for index, tab in enumerate(TABS):
        usable = function(blocks, "usable", index)
        for method, able in (("fouriscale", len(dependent)), ("scalecrafter", 5), ("attn-entropy", 0)):
            assert sum(changes(update)["interactive"] for update in usable(method)) == able
        assert all(control.interactive is not False for control in controls[tab])


def test_values_are_among_the_choices(host: Host) -> None:
    """Else the host refuses the whole request."""
    _, _, controls, _ = page(host)
    by_name = dict(zip(FIELDS, controls["txt2img"], strict=True))

    def choices(name: str) -> list[str]:
        return [choice[0] if isinstance(choice, tuple) else choice for choice in by_name[name].choices]

    assert choices("preset") == ["Auto", *(p.name for p in load()), "Custom"]
    assert choices("passes") == list(PASSES)
    assert choices("layers") == list(LAYER_SETS)
    for name in ("preset", "passes", "layers"):
        assert by_name[name].value in choices(name)
    assert by_name["preset"].allow_custom_value is True  # pasted from a picture of someone else
    assert by_name["layers"].allow_custom_value is True
    sliders = {name: by_name[name] for name in FIELDS if BY_NAME[name].kind == "number"}
    for name, slider in sliders.items():
        low, high = BY_NAME[name].argument_range or (1, 0)
        assert low <= slider.minimum <= slider.value <= slider.maximum <= high
    # pinned, as the hosts keep them in ui-config.json
    assert {name: (s.minimum, s.maximum, s.step) for name, s in sliders.items()} == {
        "start": (0, 1, 0.05), "stop": (0, 1, 0.05), "dilation": (0, 8, 0.25), "stopband_strong": (-1, 1, 0.05),
        "stopband_weak": (-1, 1, 0.05), "amp_guidance": (1, 4, 0.1), "coarse": (-1, 1, 0.05),
    }  # fmt: skip


def test_building_again_and_again(host: Host) -> None:
    """Hosts build each tab several times, for the page and to learn the defaults for the API."""
    blocks, scripts, controls, _ = page(host)
    first = elements(blocks)
    assert len(set(first)) == len(first)
    assert sum("fouriscale" in name for name in first) > 2 * len(FIELDS)
    for tab in TABS:
        for _ in range(2):
            with gr.Blocks() as other:
                again = scripts[tab].ui(tab == "img2img")
            assert [c.value for c in again] == [c.value for c in controls[tab]]
            assert [c.elem_id for c in again] == [c.elem_id for c in controls[tab]]
            assert not set(again) & set(controls[tab])
            names = elements(other)
            assert len(set(names)) == len(names)
    assert elements(blocks) == first
    assert sorted(vars(host.script)) == sorted(vars(host.module.FouriScaleScript()))


def test_tabs_have_their_own_elements(host: Host) -> None:
    blocks, _, controls, _ = page(host)
    for tab in TABS:
        own = [name for name in elements(blocks) if name.startswith(f"{tab}_fouriscale_")]
        assert {f"{tab}_fouriscale_{name}" for name in ("headline", "enabled", "refresh", "save", "delete")} <= set(own)
    assert not set(controls["txt2img"]) & set(controls["img2img"])


def test_pasting_is_bound(host: Host) -> None:
    _, scripts, controls, _ = page(host)
    for tab in TABS:
        script = scripts[tab]
        bound = [control for name, control in zip(FIELDS, controls[tab], strict=True) if name in LABELS]
        assert [control for control, _ in script.infotext_fields] == bound
        pairs = {"FouriScale": "True", "FouriScale start": "0.5"}
        values = {name: read(pairs) for name, (_, read) in zip(LABELS, script.infotext_fields, strict=True)}
        assert (values["enabled"], values["start"], values["stop"]) == (True, 0.5, 0.6)
        assert script.paste_field_names == list(LABELS.values())


def test_without_size_sliders(host: Host) -> None:
    """As for the API's defaults, where there is no page."""
    with gr.Blocks():
        controls = host.module.FouriScaleScript().ui(False)
    assert len(controls) == len(FIELDS)


def test_what_the_host_asks_of_a_script(host: Host) -> None:
    script = host.script
    assert script.title() == "FouriScale"
    assert script.show(False) is script.show(True) is host.modules["modules.scripts"].AlwaysVisible
    own = [name for name in vars(type(script)) if name in EVENTS]
    assert own == ["after_component", "process", "process_before_every_sampling", "postprocess_batch", "postprocess"]
    registered = host.modules["modules.script_callbacks"].registered
    assert {kind: len(callbacks) for kind, callbacks in registered.items()} == dict.fromkeys(registered, 1)


def test_settings_page(host: Host, tmp_path: Path) -> None:
    save(tmp_path, "Mine", "sd15", (512, 512), Settings(start=0.5))
    host.call("ui_settings")
    assert host.errors == []
    added = host.modules["modules.shared"].opts.added
    assert {name: info.default for name, info in added.items()} == {
        "fouriscale_default_preset": "Auto", "fouriscale_smallest_auto": 0, "fouriscale_user_folder": "",
        "fouriscale_log_level": "INFO", "fouriscale_tiled_decode": False, "fouriscale_tiled_from": 2048,
    }  # fmt: skip
    assert {info.section for info in added.values()} == {("fouriscale", "FouriScale")}
    choices = added["fouriscale_default_preset"].component_args["choices"]
    assert choices == ["Auto", *(p.name for p in load()), "Mine", "Custom"]


def start(host: Host, remembered: dict[str, Any]) -> dict[str, Any]:
    """What the controls begin with. As the hosts: values in ui-config.json win, and absent ones are written there.

    A component that is not to be saved keeps its own value; it is told here all the same.
    """
    _, _, controls, _ = page(host)
    shown = {}
    for tab in TABS:
        for control in controls[tab]:
            key = f"{tab}/{control.label}"
            kept = not getattr(control, "do_not_save_to_config", False)
            shown[key] = remembered.get(key, control.value) if kept else control.value
    return shown


def test_switched_off_at_each_start(host: Host) -> None:
    assert start(host, {f"{tab}/FouriScale": True for tab in TABS})["txt2img/FouriScale"] is False
    assert start(host, {"txt2img/FouriScale start": 0.5})["txt2img/FouriScale start"] == 0.5


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [("SDXL 2048x2048", "SDXL 2048x2048"), ("Custom", "Custom"), ("deleted since", "Auto"), (None, "Auto")],
)
def test_default_preset(host: Host, chosen: str | None, shown: str) -> None:
    remembered = start(host, {})  # the first start writes ui-config.json
    host.options["fouriscale_default_preset"] = chosen
    assert start(host, remembered)["img2img/FouriScale preset"] == shown
    _, _, controls, _ = page(host)
    assert controls["img2img"][1].value == shown


class Elements:
    """The tab's other elements that decide about passes, made as the hosts make them."""

    def __init__(self, script: Any, tab: str):
        made = {"denoising_strength": gr.Slider(0, 1, value=0.3)}
        if tab == "txt2img":
            made |= {"hr-checkbox": gr.Checkbox(False), "hr_scale": gr.Slider(1, 4, value=2)}
            made |= {"hr_resize_x": gr.Slider(0, 2048, value=0), "hr_resize_y": gr.Slider(0, 2048, value=0)}
        else:
            with gr.Tabs():
                made |= {"tab_resize_to": gr.Tab("to"), "tab_resize_by": gr.Tab("by")}
            made["scale"] = gr.Slider(0, 4, value=1)
        for name, component in made.items():
            script.after_component(component, elem_id=f"{tab}_{name}")
            script.after_component(gr.Button(), elem_id=f"other_{name}")


@pytest.mark.parametrize("tab", TABS)
def test_headline_follows_the_tabs_other_elements(host: Host, tab: str) -> None:
    with gr.Blocks() as blocks:
        script = host.module.FouriScaleScript()
        script.is_img2img = tab == "img2img"
        for side in ("width", "height"):
            script.after_component(gr.Slider(64, 2048, value=512), elem_id=f"{tab}_{side}")
        Elements(script, tab)
        controls = [control.value for control in script.ui(script.is_img2img)]
    controls[0] = True
    texts = function(blocks, "texts")
    if tab == "txt2img":
        assert "nothing to do" in texts(*controls, 512, 512, 0.7, False, 2, 0, 0)[0]
        both = texts(*controls, 512, 512, 0.7, True, 2, 0, 0)[0]
        assert "hires pass SD 1.5 1024×1024: dilation 2" in both
        assert "denoising strength 0.1" in texts(*controls, 512, 512, 0.1, True, 2, 0, 0)[0]
        assert "hires pass SD 1.5 2048×1536" in texts(*controls, 512, 512, 0.7, True, 2, 2048, 1536)[0]
    else:
        assert "SD 1.5 1024×1024: dilation 2" in texts(*controls, 1024, 1024, 0.7, 2.0, False)[0]
        assert "denoising strength 0.2" in texts(*controls, 1024, 1024, 0.2, 2.0, False)[0]
        assert "resize by = 2.0" in texts(*controls, 1024, 1024, 0.7, 2.0, True)[0]


# --- what the page does ----------------------------------------------------------------------------------------------


def test_headline(host: Host) -> None:
    blocks, _, controls, _ = page(host)
    texts = function(blocks, "texts")

    def text(*values: Any) -> str:
        return texts(*values)[0]

    values = [control.value for control in controls["txt2img"]]
    assert texts(*values, 1024, 1024)[1].startswith("<img ")
    assert "Off. When on: SD 1.5 1024×1024: dilation 2" in text(*values, 1024, 1024)
    values[0] = True
    assert "Off" not in text(*values, 1024, 1024)
    assert texts(*values, 1024, 1)[1] == ""
    assert "SD 1.5 1024×1024: dilation 2 over 512×512, about " in text(*values, 1024, 1024)
    assert "SD 1.5 512×512: nothing to do, 512×512 is not larger" in text(*values, 512, 512)
    assert "SD 1.5 1024×1000: dilation 2" in text(*values, 1024, 1001)  # as the host draws it
    assert "height = None is not allowed" in text(*values, 1024, None)  # a size field that was emptied
    values[1] = "<b>no such</b>"
    assert "&lt;b&gt;no such&lt;/b&gt;" in text(*values, 1024, 1024)
    values[1] = "Auto"
    host.load(None)
    assert "no model is loaded yet" in text(*values, 1024, 1024)
    host.load(SimpleNamespace(model=SimpleNamespace(diffusion_model=gr)))
    assert "has no UNet" in text(*values, 1024, 1024)


def changes(update: Any) -> dict[str, Any]:
    """An update of a control as a dictionary, in either gradio."""
    return dict(update) if isinstance(update, dict) else vars(update)


def said_and(update: Any) -> tuple[str, dict[str, Any]]:
    """The message of an answer of the preset buttons, and what becomes of the dropdown."""
    choice, message, *_ = update
    return message, changes(choice)


def test_saving_and_deleting_a_preset(host: Host, tmp_path: Path) -> None:
    blocks, _, controls, _ = page(host)
    saving, deleting = function(blocks, "save_preset"), function(blocks, "delete_preset")
    values = [control.value for control in controls["txt2img"]]
    values[1], values[FIELDS.index("start")] = "Custom", 0.35
    message, _ = said_and(saving("My <castle>", *values, 1024, 1024))
    assert "&lt;castle&gt;" in message
    assert list(tmp_path.iterdir()) == []
    message, dropdown = said_and(saving(" My castle ", *values, 1024, 1024))
    assert message == "saved My castle"
    assert dropdown["value"] == "My castle"
    assert (tmp_path / "My castle.yaml").is_file()
    assert "value" not in said_and(saving("Auto", *values, 1024, 1024))[1]
    for width in (None, "wide", 1001):
        assert "saved" not in said_and(saving("Another", *values, width, 1024))[0]
    host.load(None)
    assert "no model is loaded yet" in said_and(saving("Another", *values, 1024, 1024))[0]
    assert len(list(tmp_path.iterdir())) == 1
    for name in (None, "", "Auto", "SDXL 2048x2048", "../My castle"):
        assert "is not allowed" in said_and(deleting(name))[0]
    message, dropdown = said_and(deleting("My castle"))
    assert (message, dropdown["value"]) == ("deleted My castle", "Auto")
    assert list(tmp_path.iterdir()) == []


def test_overwriting_asks(host: Host, tmp_path: Path) -> None:
    blocks, _, controls, _ = page(host)
    saving, replacing = function(blocks, "save_preset"), function(blocks, "replace_preset")
    text = "# ours\nfamily: sd15\npresets:\n- {name: Mine, size: [512, 512]}\n- {name: Other, size: [512, 512]}\n"
    (tmp_path / "team.yaml").write_text(text, encoding="utf-8")
    values = [control.value for control in controls["txt2img"]]
    _, message, button, asked = saving("mi-ne", *values, 1024, 1024)
    assert message == "Mine is there already, in team.yaml. Replace it, and team.yaml loses its comments?"
    assert (changes(button)["visible"], asked) == (True, "mi-ne")
    assert (tmp_path / "team.yaml").read_text(encoding="utf-8") == text
    _, message, button, asked = replacing(asked, "Other", *values, 1024, 1024)  # the name was changed in between
    assert message.startswith("Other is there already")
    assert (tmp_path / "team.yaml").read_text(encoding="utf-8") == text
    choice, message, button, asked = replacing(asked, "Other", *values, 1024, 1024)
    assert (message, changes(button)["visible"], asked) == ("replaced Other", False, "")
    assert changes(choice)["value"] == "Other"
    presets = {p.name: p.size for p in load_all(tmp_path)[0][len(load()) :]}
    assert presets == {"Mine": (512, 512), "Other": (1024, 1024)}


def test_what_is_saved_is_what_a_run_would_use(host: Host, tmp_path: Path) -> None:
    blocks, _, controls, _ = page(host)
    saving = function(blocks, "save_preset")
    values = [control.value for control in controls["txt2img"]]
    values[FIELDS.index("start")] = 0.55  # of the group that does not count with a preset
    values[FIELDS.index("base")] = "not a size"
    values[FIELDS.index("layers")] = "mid"
    for name, preset in (("From auto", "Auto"), ("From a preset", "SD 1.5 1024x1024")):
        values[1] = preset
        assert said_and(saving(name, *values, 1024, 1536))[0] == f"saved {name}"
        wanted, _ = resolve(parse(values), "sd15", 1024, 1536, load())
        saved = next(p for p in load_all(tmp_path)[0] if p.name == name)
        assert saved.settings == wanted
        assert saved.settings.start != 0.55
        assert (saved.settings.layers, saved.size) == ("mid", (1024, 1536))


def test_presets_of_the_other_tab(host: Host) -> None:
    """Whoever renews the names sees what was saved meanwhile: the button, the other tab, a page that loads again."""
    blocks, _, controls, _ = page(host)
    values = [control.value for control in controls["txt2img"]]
    function(blocks, "save_preset", 0)("Mine", *values, 1024, 1024)
    for index in range(len(TABS) * 2):  # a button that is seen and one that the page's script presses, in each tab
        update = changes(function(blocks, "names_now", index)())
        names = [choice[0] if isinstance(choice, tuple) else choice for choice in update["choices"]]
        assert names == ["Auto", *(p.name for p in load()), "Mine", "Custom"]
        assert "value" not in update


def test_size_from_the_preset(host: Host) -> None:
    blocks, _, _, _ = page(host)
    size_of = function(blocks, "size_of", 1)
    assert size_of("SD 1.5 2048x1024") == (2048, 1024, "")
    for name, said in (
        ("Auto", "Auto has no size of its own"), ("Custom", "Custom has no size of its own"),
        ("Detail", "Detail has no size of its own"), ("no <such> preset", "no &lt;such&gt; preset"),
        ("", "preset = "), (None, "preset = "),
    ):  # fmt: skip
        *updates, message = size_of(name)
        assert all("value" not in changes(update) for update in updates)
        assert said in message


def test_the_page_refuses_bad_numbers(host: Host, tmp_path: Path) -> None:
    made: list[Any] = []

    def make(*values: Any) -> tuple[Any, float]:
        made.append(values)
        return "picture", 0.5

    blocks = build_page(Skeleton(), make, tmp_path, 512, "hamburger", 4, 7.0)
    generate = function(blocks, "generate")
    fine: list[Any] = ["words", "", 1024, 1024.0, 4, 7.5, None]
    arguments = [True, *DEFAULTS.values[1:]]
    pictures, line = generate(*fine, *arguments)
    assert (len(pictures), line) == (2, "plain: 0.5 s, FouriScale: 0.5 s")
    assert [values[2:7] for values in made] == [(1024, 1024, 4, 7.5, 0)] * 2
    for place, name, bad in (
        (2, "width", None), (2, "width", 1001), (3, "height", "<img src=x onerror=alert(1)>"), (4, "steps", 2.5),
        (4, "steps", math.inf), (4, "steps", 0), (5, "cfg", math.nan), (5, "cfg", ""), (6, "seed", 2**64),
        (6, "seed", -1), (6, "seed", "1e400"),
    ):  # fmt: skip
        pictures, line = generate(*fine[:place], bad, *fine[place + 1 :], *arguments)
        assert pictures == []
        assert line.startswith(f"{name} = ")
        assert "<" not in line
    assert len(made) == 2


def test_panel_by_itself(host: Host, tmp_path: Path) -> None:
    """Without sizes there is no headline to renew; with them, the page gets the event to renew it."""
    parts = PanelHost(host.module.InputAccordion, lambda: None, host.module.current_environment, lambda: tmp_path)
    with gr.Blocks():
        (renewing,) = build("one", parts).on_load
        assert renewing["inputs"] == []
        sizes = (gr.Number(512), gr.Number(512))
        panel = build("two", PanelHost(**{**vars(parts), "size_inputs": sizes, "enabled": True}))
    assert [event["inputs"] for event in panel.on_load] == [[*panel.controls, *sizes], []]
    assert panel.controls[0].value is True
