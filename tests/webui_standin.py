"""A WebUI in small: what the extension meets of A1111 and of Forge.

The order of events and of rows, what is swallowed and what is called after an error are the hosts'. All else is left
out: a prompt is a tensor, a picture is a latent, and a sampler takes three steps of a fixed size.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
TIMESTEPS = (999.0, 500.0, 100.0)  # of the three steps: full dilation, annealing, plain
STEP = 0.1
CFG = 7.0
# Height and width of the latents, small, but large enough that the weak rows differ: four and three times the base.
SIZES = {"sd15": (8, 32), "sd21": (8, 32), "sdxl": (16, 32)}
COND, UNCOND = 0, 1  # Forge's marks
EVENTS = (
    "setup", "before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
    "before_hr", "process_before_every_sampling", "post_sample", "postprocess_batch", "postprocess_batch_list",
    "postprocess_image", "postprocess", "before_component", "after_component",
)  # fmt: skip


class InterruptedException(BaseException):
    """What the hosts raise inside sampling when the user interrupts."""


# --- prompts and the plain computation -------------------------------------------------------------------------------


@dataclass
class Words:
    """Encoded prompts. weights: of each part of each picture's AND prompt; `cond` has the parts picture by picture."""

    weights: list[list[float]]
    cond: Any
    uncond: Any

    @property
    def owners(self) -> list[int]:
        """The picture of each row of `cond`."""
        return [picture for picture, parts in enumerate(self.weights) for _ in parts]


def words(
    family: str = "sd15", weights: Sequence[Sequence[float]] = ((1.0,),), tokens: int = 7, uncond_tokens: int = 7,
    seed: int = 10,
) -> Words:  # fmt: skip
    """Random prompts for pictures with the given AND weights."""

    def encoded(rows: int, length: int, seed: int) -> Any:
        text = noise(rows, length, 8, seed=seed)
        return {"crossattn": text, "vector": noise(rows, 2816, seed=seed + 1)} if family == "sdxl" else text

    parts = [list(picture) for picture in weights]
    return Words(parts, encoded(sum(map(len, parts)), tokens, seed), encoded(len(parts), uncond_tokens, seed + 2))


def noise(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text_and_vector(encoded: Any) -> tuple[Tensor, Tensor | None]:
    """The two parts of an encoded prompt; only SDXL has a vector."""
    return (encoded["crossattn"], encoded["vector"]) if isinstance(encoded, dict) else (encoded, None)


def join(parts: Sequence[Tensor | None]) -> Tensor | None:
    """One batch of several; texts of unequal length are repeated to a common one, which attention does not notice."""
    tensors = [part for part in parts if part is not None]
    if not tensors:
        return None
    if tensors[0].ndim == 3:
        longest = math.lcm(*(t.shape[1] for t in tensors))
        tensors = [t.repeat(1, longest // t.shape[1], 1) for t in tensors]
    return torch.cat(tensors)


def guide(cond: Tensor, uncond: Tensor, weights: list[list[float]], scale: float) -> Tensor:
    """Classifier-free guidance with weighted parts."""
    result = uncond.clone()
    row = 0
    for picture, parts in enumerate(weights):
        for weight in parts:
            result[picture] += scale * weight * (cond[row] - uncond[picture])
            row += 1
    return result


# --- models and the two denoisers ------------------------------------------------------------------------------------


class A1111Model:
    """A checkpoint as A1111 holds it."""

    def __init__(self, unet: nn.Module):
        self.model = SimpleNamespace(diffusion_model=unet)

    def apply_model(self, x: Tensor, timesteps: Tensor, text: Tensor | None, vector: Tensor | None) -> Tensor:
        """One call of the UNet."""
        more = {} if vector is None else {"y": vector}
        return self.model.diffusion_model(x, timesteps, context=text, **more)


class ForgeModel:
    """A checkpoint as Forge holds it; `reset` is what happens before each pass."""

    def __init__(self, unet: nn.Module):
        self.original = SimpleNamespace(unet=Patcher(SimpleNamespace(diffusion_model=unet)))
        self.reset()

    def reset(self) -> None:
        """Forget what extensions did to the patcher."""
        self.forge_objects = copy.copy(self.original)


class Patcher:
    """The UNet with what extensions want of it; copies share the UNet."""

    def __init__(self, model: Any):
        self.model = model
        self.model_options: dict[str, Any] = {}
        self.controlnet_linked_list: Any = None
        self.extra_preserved_memory_during_sampling = 0

    def clone(self) -> Patcher:
        """A copy that can be changed."""
        return copy.copy(self)

    def memory_required(self, input_shape: Sequence[int]) -> float:
        """Bytes for an input of that shape."""
        return 4.0 * math.prod(input_shape)

    def add_extra_preserved_memory_during_sampling(self, memory_in_bytes: int) -> None:
        """Keep so much free."""
        self.extra_preserved_memory_during_sampling += memory_in_bytes


class Denoiser:
    """What both have: the count of steps, the refiner's switch, the interruption."""

    def __init__(self, host: Host):
        self.host = host
        self.p: Any = None
        self.sampler: Any = None
        self.step = 0

    def __call__(self, x: Tensor, timesteps: Tensor) -> Tensor:
        if self.step == self.host.interrupt_at:
            self.host.interrupted = True
            raise InterruptedException
        if self.host.refiner is not None and self.step == self.host.refiner[0]:
            self.host.load(self.host.refiner[1])
        result = self.denoise(x, timesteps)
        self.step += 1
        return result

    def announce(self, x: Tensor, timesteps: Tensor) -> SimpleNamespace:
        """Let the callbacks see what is about to be computed."""
        prompts = self.p.words
        params = SimpleNamespace(
            x=x, image_cond=None, sigma=timesteps, sampling_step=self.step, total_sampling_steps=len(TIMESTEPS),
            text_cond=prompts.cond, text_uncond=prompts.uncond, denoiser=self,
        )  # fmt: skip
        self.host.call("cfg_denoiser", params)
        return params

    def denoise(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """The guided estimate."""
        raise NotImplementedError


class A1111Denoiser(Denoiser):
    """Cond rows first, picture by picture with all parts, then uncond rows; in one or several calls."""

    def denoise(self, x: Tensor, timesteps: Tensor) -> Tensor:
        host, prompts, pictures = self.host, self.p.words, len(x)
        cond_rows = len(prompts.owners)
        order = prompts.owners + list(range(pictures))
        params = self.announce(x[order], timesteps[order])
        rows, times = params.x, params.sigma
        cond, uncond = text_and_vector(params.text_cond), text_and_vector(params.text_uncond)
        skip = self.step in host.steps_without_uncond
        if skip:
            groups, size = [(slice(0, cond_rows), *cond)], cond_rows
        elif cond[0].shape[1] == uncond[0].shape[1]:
            groups, size = [(slice(None), join([cond[0], uncond[0]]), join([cond[1], uncond[1]]))], len(rows)
        else:
            groups, size = [(slice(0, cond_rows), *cond), (slice(cond_rows, None), *uncond)], 2 * pictures
        if not host.batch_cond_uncond:
            size = pictures
        out = []
        for part, text, vector in groups:
            for a in range(0, len(rows[part]), size):
                few = slice(a, a + size)
                y = None if vector is None else vector[few]
                out.append(self.p.sd_model.apply_model(rows[part][few], times[part][few], text[few], y))
        result = torch.cat(out)
        if host.after_unet is not None:
            host.after_unet(self, rows[:cond_rows], times[:cond_rows], cond)
        if skip:
            return result  # one part per picture: guidance with itself
        return guide(result[:cond_rows], result[cond_rows:], prompts.weights, self.p.cfg_scale)


class ForgeDenoiser(Denoiser):
    """Chunks of one part of all prompts each; batches of chunks as memory allows, in reversed order."""

    def denoise(self, x: Tensor, timesteps: Tensor) -> Tensor:
        host, prompts = self.host, self.p.words
        params = self.announce(x, timesteps)
        scale = 1.0 if self.step in host.steps_without_uncond else self.p.cfg_scale
        chunks = []
        text, vector = text_and_vector(params.text_cond)
        for part, weight in enumerate(prompts.weights[0]):
            rows = [prompts.owners.index(picture) + part for picture in range(len(x))]
            chunks.append((COND, weight, text[rows], None if vector is None else vector[rows]))
        if scale != 1.0:
            chunks.append((UNCOND, 1.0, *text_and_vector(params.text_uncond)))
        cond, uncond = self.run_chunks(chunks, params.x, params.sigma)
        if host.after_unet is not None:
            host.after_unet(self, params.x, params.sigma, text_and_vector(params.text_cond))
        return uncond + scale * (cond - sum(prompts.weights[0]) * uncond) if scale != 1.0 else cond

    def run_chunks(self, chunks: list[tuple[Any, ...]], x: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sums of the cond and of the uncond estimates."""
        sums = [torch.zeros_like(x), torch.zeros_like(x)]
        patcher = self.p.sd_model.forge_objects.unet
        while chunks:
            shortest = chunks[0][2].shape[1]
            alike = [i for i, c in enumerate(chunks) if math.lcm(c[2].shape[1], shortest) <= 4 * shortest][::-1]
            fitting = [len(alike) // n for n in range(1, len(alike) + 1)]
            size = next((n for n in fitting if n * len(x) <= self.host.room), 1)
            batch = [chunks.pop(i) for i in alike[:size]]  # from the back, so that the other indices hold
            marks = [chunk[0] for chunk in batch]
            rows = torch.cat([x] * size)
            labels = [mark for mark in marks for _ in range(len(x))]
            options = {
                **patcher.model_options.get("transformer_options", {}),
                "cond_or_uncond": marks,
                "sigmas": timesteps,
                "cond_mark": torch.tensor([float(label) for label in labels]),
                "cond_indices": [row for row, label in enumerate(labels) if label == COND],
                "uncond_indices": [row for row, label in enumerate(labels) if label == UNCOND],
            }
            call = {"context": join([c[2] for c in batch]), "transformer_options": options, "control": None}
            if batch[0][3] is not None:
                call["y"] = join([c[3] for c in batch])
            if patcher.controlnet_linked_list is not None:
                call["control"] = patcher.controlnet_linked_list.get_control(rows, timesteps, call, size)
            wrapper = self.host.around_unet or (lambda unet, x, t, call: unet(x, t, **call))
            out = wrapper(patcher.model.diffusion_model, rows, torch.cat([timesteps] * size), call)
            for (mark, weight, *_), part in zip(batch, out.chunk(size), strict=True):
                sums[mark] += weight * part
        return sums[COND], sums[UNCOND]


class Sampler:
    """Takes the steps of TIMESTEPS."""

    def __init__(self, host: Host):
        self.model_wrap_cfg = (ForgeDenoiser if host.forge else A1111Denoiser)(host)
        self.model_wrap_cfg.sampler = self
        self.sampler_extra_args: dict[str, Any] = {}
        self.last_latent: Tensor | None = None

    def launch_sampling(self, steps: int, func: Callable[[], Tensor]) -> Tensor:
        """Where an interruption ends."""
        try:
            return func()
        except InterruptedException:
            assert self.last_latent is not None
            return self.last_latent

    def sample(self, p: Processing, x: Tensor) -> Tensor:
        """All steps from `x`."""
        self.model_wrap_cfg.p, self.model_wrap_cfg.step = p, 0
        self.sampler_extra_args = {"cond": SimpleNamespace(batch=p.words.weights)}

        def steps() -> Tensor:
            latent = x
            for timestep in TIMESTEPS:
                self.last_latent = latent
                latent = latent - STEP * self.model_wrap_cfg(latent, torch.full((len(x),), timestep))
            return latent

        return self.launch_sampling(len(TIMESTEPS), steps)


# --- a generation ----------------------------------------------------------------------------------------------------


class Processing:
    """One request. size, hires: height and width of the latent; hires None: one pass."""

    def __init__(
        self, host: Host, args: Sequence[Any] = (), prompts: Words | None = None, size: tuple[int, int] | None = None,
        hires: tuple[int, int] | None = None, n_iter: int = 1, img2img: bool = False, cfg_scale: float = CFG,
    ):  # fmt: skip
        self.host, self.script_args, self.words = host, list(args), prompts or words(host.family)
        self.size = size or SIZES[host.family]
        self.hires, self.n_iter, self.img2img = hires, n_iter, img2img
        self.enable_hr = hires is not None
        self.batch_size = len(self.words.weights)
        self.cfg_scale = cfg_scale
        self.iteration = 0
        self.sampler: Sampler | None = None
        self.is_hr_pass = False
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: dict[str, int] = {}

    @property
    def sd_model(self) -> Any:
        """The host's current model, whatever that is."""
        return self.host.model_data.sd_model

    def comment(self, text: str) -> None:
        """Text below the picture."""
        self.comments[text] = 1

    def close(self) -> None:
        """Called however the request ends."""
        self.host.events.append("close")

    def latent(self, iteration: int = 0) -> Tensor:
        """What the first pass of an iteration starts from."""
        return noise(self.batch_size, 4, *self.size, seed=1000 + iteration)


class Host:
    """The running WebUI, with the extension's script loaded into it.

    Attributes to set: batch_cond_uncond, steps_without_uncond (NGMS), room (rows that fit into memory), interrupt_at
    (step), refiner (step, model), after_unet and around_unet (what other extensions do), options (the settings page).
    errors: what the script's events and callbacks raised, which is swallowed. samplers: all that were made.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, family: str = "sd15", forge: bool = False, api_auth: str | None = None,
        unet: nn.Module | None = None, flags: Sequence[str] = ("api",),
    ):  # fmt: skip
        self.family, self.forge = family, forge
        self.batch_cond_uncond, self.room = True, 1000
        self.steps_without_uncond: Sequence[int] = ()
        self.interrupt_at: int | None = None
        self.interrupted = False
        self.refiner: tuple[int, Any] | None = None
        self.after_unet: Callable[..., None] | None = None
        self.around_unet: Callable[..., Tensor] | None = None
        self.events: list[str] = []
        self.errors: list[Exception] = []
        self.samplers: list[Sampler] = []
        self.infotexts: list[str] = []
        self.model_data = SimpleNamespace(sd_model=None)
        self.options: dict[str, Any] = {"fouriscale_user_folder": str(ROOT / "tests" / "no such folder")}
        self.modules = modules_package(self, api_auth, flags)
        for name, module in self.modules.items():
            patch.setitem(sys.modules, name, module)
        if importlib.util.find_spec("gradio") is None:
            patch.setitem(sys.modules, "gradio", _no_gradio())
        logger = logging.getLogger("fouriscale.hosts.webui")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())  # else it writes to a stream that pytest closes
        self.module = load_script()
        self.script = self.module.FouriScaleScript()
        self.unet = unet or importlib.import_module("webui_unets").build_unet(family, forge)  # which needs diffusers
        self.main_model = self.make_model(self.unet)
        self.load(self.main_model)

    def make_model(self, unet: nn.Module) -> Any:
        """A checkpoint of this host's kind."""
        return (ForgeModel if self.forge else A1111Model)(unet)

    def load(self, model: Any) -> None:
        """Make `model` the current one."""
        self.model_data.sd_model = self.modules["modules.shared"].sd_model = model

    def call(self, name: str, *args: Any) -> None:
        """Callbacks of the kind `name`; their errors are swallowed."""
        for callback in self.modules["modules.script_callbacks"].registered[name]:
            self._swallow(callback, *args)

    def event(self, name: str, p: Processing, *first: Any, **named: Any) -> None:
        """The script's method `name`; its errors are swallowed."""
        self.events.append(name)
        self._swallow(getattr(self.script, name), p, *first, *p.script_args, **named)

    def _swallow(self, function: Callable[..., Any], *args: Any, **named: Any) -> None:
        try:
            function(*args, **named)
        except Exception as error:
            self.errors.append(error)

    def request(self, *args: Any, **more: Any) -> tuple[Processing, list[Tensor]]:
        """A request with the script's arguments, made, run and closed: what it was, and its pictures."""
        p = Processing(self, args, **more)
        with closing(p):
            return p, self.process_images(p)

    def process_images(self, p: Processing) -> list[Tensor]:
        """The pictures of all iterations."""
        pictures = []
        for name in ("setup", "before_process", "process"):
            self.event(name, p)
        for iteration in range(p.n_iter):
            p.iteration = iteration
            if self.interrupted:
                break
            self.load(self.main_model)
            for name in ("before_process_batch", "after_extra_networks_activate", "process_batch"):
                self.event(name, p, batch_number=p.iteration)
            with torch.no_grad():
                latent = self._sample(p)
            self.event("post_sample", p, SimpleNamespace(samples=latent))
            self.event("postprocess_batch", p, images=latent, batch_number=p.iteration)
            for _ in latent:
                self.event("postprocess_image", p, SimpleNamespace(image=None))
                self.infotexts.append(infotext(p))
            pictures.append(latent)
        self.event("postprocess", p, SimpleNamespace(images=pictures))
        return pictures

    def _sample(self, p: Processing) -> Tensor:
        if p.sampler is None or not p.img2img:
            p.sampler = self._new_sampler()
        x = p.latent(p.iteration)
        self._before_sampling(p, x, resets=True)
        latent = p.sampler.sample(p, x)
        if p.hires is None or self.interrupted:
            return latent
        p.is_hr_pass = True
        p.sampler = self._new_sampler()
        latent = enlarge(latent, p.hires)
        self.event("before_hr", p)
        self._before_sampling(p, latent, resets=False)
        if self.forge:
            self._before_sampling(p, latent, resets=True)
        latent = p.sampler.sample(p, latent)
        p.sampler, p.is_hr_pass = None, False
        return latent

    def _new_sampler(self) -> Sampler:
        self.samplers.append(Sampler(self))
        return self.samplers[-1]

    def _before_sampling(self, p: Processing, x: Tensor, resets: bool) -> None:
        if self.forge and resets:
            p.sd_model.reset()
        self.event("process_before_every_sampling", p, x=x, noise=x, c=p.words.cond, uc=p.words.uncond)


def enlarge(latent: Tensor, size: tuple[int, int]) -> Tensor:
    """What the hires pass starts from."""
    return nn.functional.interpolate(latent, size=size, mode="nearest")


# --- the `modules` package -------------------------------------------------------------------------------------------


class OptionInfo:
    """One entry of the settings page."""

    def __init__(
        self, default: Any = None, label: str = "", component: Any = None, component_args: Any = None,
        section: tuple[str, str] | None = None,
    ):  # fmt: skip
        self.default, self.label, self.component, self.component_args = default, label, component, component_args
        self.section = section

    def needs_reload_ui(self) -> OptionInfo:
        """Marks the entry; returns it."""
        return self


class AxisOption:
    """One axis of the X/Y/Z plot."""

    def __init__(
        self, label: str, type: type, apply: Callable[..., None], format_value: Any = None, confirm: Any = None,
        cost: float = 0.0, choices: Any = None, prepare: Any = None,
    ):  # fmt: skip
        self.label, self.type, self.apply, self.choices = label, type, apply, choices


def modules_package(host: Host, api_auth: str | None, flags: Sequence[str]) -> dict[str, ModuleType]:
    """The host's package, as far as the extension imports it."""
    shared, callbacks, scripts = ModuleType("shared"), ModuleType("script_callbacks"), ModuleType("scripts")
    shared.opts = SimpleNamespace(data=host.options, added={})
    shared.opts.add_option = lambda name, info: shared.opts.added.update({name: info})
    shared.OptionInfo = OptionInfo
    shared.cmd_opts = SimpleNamespace(api_auth=api_auth, **dict.fromkeys(flags, True))
    kinds = ("cfg_denoiser", "app_started", "ui_settings", "script_unloaded")
    callbacks.registered = {kind: [] for kind in kinds}
    for kind in kinds:
        setattr(callbacks, f"on_{kind}", callbacks.registered[kind].append)

    def nothing(self: Any, *args: Any, **named: Any) -> None:
        pass

    scripts.Script = type("Script", (), {**dict.fromkeys(EVENTS, nothing), "is_img2img": False})
    scripts.AlwaysVisible = object()
    xyz = ModuleType("xyz_grid.py")
    xyz.AxisOption, xyz.axis_options = AxisOption, [AxisOption("Nothing", str, nothing)]
    path = str(Path("webui") / "scripts" / "xyz_grid.py")
    scripts.scripts_data = [SimpleNamespace(path="other.py", module=None), SimpleNamespace(path=path, module=xyz)]
    components, models, unet = ModuleType("ui_components"), ModuleType("sd_models"), ModuleType("sd_unet")
    components.InputAccordion = None
    models.model_data = host.model_data
    unet.current_unet = None
    parts = {
        "shared": shared, "script_callbacks": callbacks, "scripts": scripts, "ui_components": components,
        "sd_models": models, "sd_unet": unet,
    }  # fmt: skip
    package = ModuleType("modules")
    for name, part in parts.items():
        setattr(package, name, part)
    return {"modules": package, **{f"modules.{name}": part for name, part in parts.items()}}


def _no_gradio() -> ModuleType:
    """Enough of gradio to import the script where there is none; building the panel needs the real one."""
    stub = ModuleType("gradio")
    stub.Dropdown = object
    return stub


def load_script() -> ModuleType:
    """The extension's script, executed as the hosts do it."""
    spec = importlib.util.spec_from_file_location("fouriscale_script", ROOT / "scripts" / "fouriscale_script.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- infotext --------------------------------------------------------------------------------------------------------

_PAIR = re.compile(r'\s*(?P<key>\w[\w /-]+):\s*(?P<value>"(?:[^"\\]|\\.)+"|[^,]*)(?:,|$)')


def infotext(p: Processing) -> str:
    """The text of a picture: values with a comma, a colon or a line break stand as JSON, None is left out."""
    pairs = {"Steps": len(TIMESTEPS), "Sampler": "Euler", "CFG scale": p.cfg_scale, "Seed": 1, "Size": "128x128"}
    pairs |= {**p.extra_generation_params, "Version": "v1.10.1"}
    line = ", ".join(f"{key}: {_quoted(value)}" for key, value in pairs.items() if value is not None)
    return f"a castle, (on: a hill)\nNegative prompt: fog\n{line}"


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(",:\n") else text


def parse_infotext(text: str) -> dict[str, str]:
    """The pairs of the last line; what looks like a size is split in two, as the hosts do it."""
    pairs = {}
    for found in _PAIR.finditer(text.split("\n")[-1]):
        key, value = found["key"], found["value"]
        if value[:1] == value[-1:] == '"':
            value = json.loads(value)
        if size := re.match(r"(\d+)x(\d+)$", value):
            pairs[f"{key}-1"], pairs[f"{key}-2"] = size.groups()
        else:
            pairs[key] = value
    return pairs
