"""The AlwaysOn script: joins the host's events to `fouriscale.hosts.webui`, which does the work."""

from __future__ import annotations

import gradio as gr
from modules import script_callbacks, scripts, sd_models, shared
from modules.ui_components import InputAccordion

from fouriscale.hosts.webui import options, panel
from fouriscale.hosts.webui.api import add_routes, serves_api
from fouriscale.hosts.webui.args import TITLE
from fouriscale.hosts.webui.axes import add_axes, find_xyz_module
from fouriscale.hosts.webui.infotext import LABELS
from fouriscale.hosts.webui.report import Report
from fouriscale.hosts.webui.rows import and_parts
from fouriscale.hosts.webui.run import begin, remove_leftovers, run_of

REPORT = Report()


def current_environment():
    """The settings page and preset folders as they are now."""
    return options.environment(shared, REPORT)


def current_model():
    """The model in memory, or None; `shared.sd_model` would load one."""
    return sd_models.model_data.sd_model


# What the header follows besides width and height: a tab's elements, and what they are in `Page`.
ELEMENTS = {
    "txt2img_hr-checkbox": "enable_hr",  # the value of an InputAccordion is a checkbox of its own
    "txt2img_hr_scale": "hr_scale",
    "txt2img_hr_resize_x": "hr_resize_x",
    "txt2img_hr_resize_y": "hr_resize_y",
    "txt2img_denoising_strength": "denoising_strength",
    "img2img_denoising_strength": "denoising_strength",
    "img2img_scale": "resize_by",
}
TABS = ("img2img_tab_resize_to", "img2img_tab_resize_by")


class FouriScaleScript(scripts.Script):
    """One per tab. Keeps only those of the tab's own components that the headline follows."""

    def __init__(self):
        super().__init__()
        self._size_inputs = {}
        self._page_inputs = {}
        self._resize_tabs = {}

    def title(self):
        """The key of the script in API requests."""
        return TITLE

    def show(self, is_img2img):
        """In both tabs, always."""
        return scripts.AlwaysVisible

    def after_component(self, component, **kwargs):
        """Remember what decides about size and passes, which the page makes before the scripts' panels."""
        name = str(kwargs.get("elem_id") or "")
        if name in TABS and self.is_img2img:
            self._resize_tabs[name] = component
        if name in ELEMENTS and name.startswith("img2img") == bool(self.is_img2img):
            self._page_inputs[ELEMENTS[name]] = component
        for side in ("width", "height"):
            if name == f"{'img2img' if self.is_img2img else 'txt2img'}_{side}":
                self._size_inputs[side] = component

    def ui(self, is_img2img):
        """Build the accordion."""
        sizes = (self._size_inputs.get("width"), self._size_inputs.get("height"))
        host = panel.PanelHost(
            accordion=InputAccordion,
            model=current_model,
            environment=current_environment,
            user_folder=lambda: options.user_folder(shared),
            default_preset=options.default_preset(shared),
            size_inputs=sizes if None not in sizes else None,
            page_inputs=dict(self._page_inputs),
            resize_by_tabs=tuple(self._resize_tabs[t] for t in TABS) if len(self._resize_tabs) == len(TABS) else None,
        )
        controls = panel.build("img2img" if is_img2img else "txt2img", host).controls
        # The host would remember them in ui-config.json, over the settings page and over "off" at each start.
        for control in controls[:2]:
            control.do_not_save_to_config = True
        self.infotext_fields = panel.paste_fields(controls)
        self.paste_field_names = list(LABELS.values())
        return controls

    def process(self, p, *args):
        """First event of a generation."""
        begin(p, args, current_environment())

    def process_before_every_sampling(self, p, *args, **kwargs):
        """Each pass: first, hires, every batch."""
        run = run_of(p)
        if run is not None:
            run.before_pass(kwargs["x"].shape)

    def postprocess_batch(self, p, *args, **kwargs):
        """All passes of a batch are over, also after an interrupt."""
        run = run_of(p)
        if run is not None:
            run.end_batch()

    def postprocess(self, p, processed, *args):
        """The generation is over."""
        run = run_of(p)
        if run is not None:
            run.finish()


def on_denoiser(params):
    """Before each denoiser call: how many of its rows are cond."""
    p = getattr(getattr(params, "denoiser", None), "p", None)
    run = run_of(p) if p is not None else None
    if run is None:
        return
    cond = params.text_cond
    if isinstance(cond, dict):
        cond = cond["crossattn"]
    run.denoiser_call(len(cond), len(params.x), and_parts(params.denoiser))


def on_unload():
    """The script is being reloaded: leave nothing on the model."""

    class Idle:
        sd_model = current_model()

    remove_leftovers(Idle())


def on_app_started(_demo: gr.Blocks | None, app):
    """Add the API routes where the host has an API."""
    if serves_api(shared.cmd_opts):
        add_routes(app, current_environment, current_model, getattr(shared.cmd_opts, "api_auth", None))


def preset_names():
    """Names for the X/Y/Z plot's preset axis."""
    return [p.name for p in current_environment().presets]


script_callbacks.on_cfg_denoiser(on_denoiser)
script_callbacks.on_app_started(on_app_started)
script_callbacks.on_ui_settings(lambda: options.add_options(shared))
script_callbacks.on_script_unloaded(on_unload)
_xyz = find_xyz_module(scripts.scripts_data)
if _xyz is not None:
    add_axes(_xyz, preset_names)
