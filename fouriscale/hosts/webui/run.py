"""The life of one generation in a WebUI: plan for each pass, attach, follow model switches, clean up, report.

Everything about the generation lives in one `Run`, and the `Run` lives on the host's processing object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import FouriScaleError, UnsupportedModelError
from ...hooks import Session, attach, session_on
from ...hooks.outcome import Verdict
from ...planning.plans import Plan
from ...settings.presets import Preset
from ...unet.structure import describe
from . import infotext, vae
from .args import DEFAULTS, Parsed, parse, wants
from .deciding import FIRST, HostState, Pass, PassDecision, Request, pass_of, plan_for
from .log import get_logger
from .noise import noise_of
from .report import Report
from .rows import A1111Rows, ForgeRows, WebuiRows, find_unet, is_forge, refuse_compiled_host
from .wrapping import Wrapping

ATTRIBUTE = "_fouriscale_run"
XYZ_ATTRIBUTE = "_fouriscale_xyz"
SECOND_ROWS: dict[str | None, list[str]] = {None: [], "cond": ["cond_weak"], "uncond": ["uncond_damped"]}
REPLACED = "another script samples by itself (as img2img alternative test does) and tells other scripts of no pass"
COMMENT = "FouriScale"  # what every comment of ours begins with


@dataclasses.dataclass(frozen=True)
class Environment:
    """What the host's settings page says, and what is known besides."""

    presets: Sequence[Preset]
    report: Report
    # The name of a UNet implementation that hooks cannot reach (TensorRT), if one is in use. The host chooses it after
    # the run began, so this is asked for each pass.
    custom_unet: Callable[[], str] = lambda: ""
    smallest_auto: int = 0  # Auto does nothing for pictures whose longer side is smaller than this, in pixels
    smallest_tiled: int = 0  # pictures are decoded in tiles from this longer side on, in pixels; 0: never

    def state(self, other_freeu: bool = False) -> HostState:
        """What of it counts for a plan, as it is now."""
        return HostState(self.custom_unet(), other_freeu, self.smallest_auto)


class Run:
    """FouriScale in one generation. Begin with `begin`; `before_pass` for each pass; `finish` at the end, any end."""

    def __init__(self, p: Any, parsed: Parsed, environment: Environment):
        self._p = p
        self._parsed = parsed
        self._environment = environment
        self._job = environment.report.start()
        self._session: Session | None = None
        self._adapter: WebuiRows | None = None
        self._unet: Any = None
        self._pass = Pass(FIRST, (0, 0))
        self._announced = False  # whether the host has told of any pass
        self._preset = ""
        self._said: set[str] = set()
        self._tiles = vae.VaeTiles(environment.smallest_tiled, self._note)
        self._wrapping = Wrapping()

    @property
    def session(self) -> Session | None:
        """The session of the pass that is under way."""
        return self._session

    def is_of(self, p: Any) -> bool:
        """Whether this is the run of `p` itself, not of an object that `p` was copied from."""
        return self._p is p

    def wrap_close(self) -> None:
        """The host closes its processing object however a job ends; clean up there too."""
        self._wrapping.wrap(self._p, "close", self.finish)

    def before_pass(self, latent_shape: Sequence[int]) -> None:
        """Plan and attach for a pass whose latent has `latent_shape` (n, c, h, w). Never raises on bad input."""
        self.end_pass()
        self._tiles.attach(self._p.sd_model)
        self._pass, self._announced = pass_of(self._p, latent_shape), True
        self._attach()
        if self._session is not None:
            self._wrapping.wrap(getattr(self._p, "sampler", None), "launch_sampling", self.end_pass)

    def _attach(self) -> None:
        try:
            self._attach_to_model()
        except FouriScaleError as error:
            self.skip(str(error))
        except Exception as error:
            get_logger().exception("unexpected error while attaching")
            self.skip(f"unexpected {type(error).__name__}: {error}")

    def _attach_to_model(self) -> None:
        model = self._p.sd_model
        refuse_compiled_host(model)
        unet = find_unet(model)
        one = self._decide(unet)
        for note in one.notes:
            self._note(note)
        self._preset, decided = one.preset, one.plan
        if one.chosen or not one.expected:
            self._record(decided)
        if decided.reason is not None:
            if not one.expected:
                self.skip(decided.reason)
            return
        base = decided.base if decided.family == "sdxl" and self._parsed.args.size_conditioning else None
        if is_forge(model) and decided.method.weak_label is not None and not decided.settings.low_memory:
            _reserve_memory(self._p, decided.size)
        adapter = (ForgeRows if is_forge(model) else A1111Rows)(base, self._note)
        self._session = attach(unet, decided, None, adapter, noise_of(model))
        self._adapter, self._unet = adapter, unet
        get_logger().debug("attached: %s", decided)

    def _decide(self, unet: Any) -> PassDecision:
        freeu = any(str(key).lower().startswith("freeu") for key in self._p.extra_generation_params)
        host = self._environment.state(other_freeu=freeu)
        hires = bool(getattr(self._p, "enable_hr", False))
        request = Request(self._parsed, tuple(self._environment.presets), (self._pass,), hires)
        return plan_for(describe(unet), request, host).passes[0]

    def denoiser_call(self, cond_rows: int, total_rows: int, parts: Sequence[int] | None = None) -> None:
        """The host's CFG denoiser is about to call the UNet, with so many cond rows of so many rows.

        parts: of how many AND parts each picture's prompt is; None: not known.
        """
        self._tiles.attach(self._p.sd_model)  # the refiner's, once it has taken over
        if self._session is None or self._adapter is None:
            return
        try:
            unet = find_unet(self._p.sd_model)
        except UnsupportedModelError:
            unet = None
        if unet is not self._unet:  # the refiner, or another checkpoint, took over
            self._close_session()
            self._attach()
        if self._adapter is not None:
            self._adapter.start(cond_rows, total_rows, parts)

    def end_pass(self) -> None:
        """Detach, put the host's methods back, and write down what was done. Safe to call at any time, and twice."""
        self._close_session()
        self._wrapping.unwrap("launch_sampling")

    def end_batch(self) -> None:
        """The pictures of a batch are there. Says so if the host announced none of their passes."""
        self.end_pass()
        if not self._announced:
            self.skip(REPLACED)

    def finish(self) -> None:
        """The end of the generation: nothing of the run is left on the host's objects."""
        self.end_pass()
        self._tiles.remove()  # after the pass, as pictures are decoded after it
        self._wrapping.unwrap("close")
        if run_of(self._p) is self:
            delattr(self._p, ATTRIBUTE)
        self._environment.report.finish(self._job)

    def skip(self, reason: str) -> None:
        """Say once, in the picture's comment and in the log, why the picture is plain."""
        self._say(Verdict(False, reason, False))

    def _say(self, found: Verdict) -> None:
        """Report, comment, log and infotext of what became of a pass."""
        if found.reason is not None:
            self._job.skipped(found.reason)
        for sentence in (found.sentence, *found.notes):
            if sentence is not None:
                self._note(sentence)
        fields = self._p.extra_generation_params
        if found.worked:
            fields.pop(infotext.NO_EFFECT, None)
        elif found.prevented and infotext.PREFIX not in fields:
            fields[infotext.NO_EFFECT] = found.reason

    def _note(self, text: str) -> None:
        if text in self._said:
            return
        self._said.add(text)
        get_logger().warning("%s", text)
        if hasattr(self._p, "comment"):
            self._p.comment(f"{COMMENT} {text}")

    def _close_session(self) -> None:
        session, self._session, self._adapter, self._unet = self._session, None, None, None
        if session is None:
            return
        session.close()
        self._record(session.plan, session)
        found = session.verdict
        self._say(found)
        if found.worked:
            fields = infotext.fields_of(self._parsed, self._preset, session.plan)
            self._p.extra_generation_params.update(fields)

    def _record(self, decided: Plan, session: Session | None = None) -> None:
        history = [] if session is None else session.history
        found = {
            **decided.to_dict(),
            "preset": self._preset,
            "unet_calls": 0 if session is None else session.calls,
            "calls": {} if session is None else session.outcome.to_dict(),
            "rows": ["uncond", "cond", *SECOND_ROWS[decided.method.weak_label]],
            "dilation_by_step": [{"progress": p, "dilation": round(d, 4)} for p, d in history],
        }
        self._job.write(found)


def begin(p: Any, values: Sequence[Any], environment: Environment) -> Run | None:
    """First thing in every generation, enabled or not: remove leftovers, read the arguments, make the run.

    Returns None where FouriScale is not wanted. Bad arguments are said in the picture's comment; nothing is raised.
    """
    remove_leftovers(p)
    for key in [k for k in p.extra_generation_params if k.startswith(infotext.PREFIX)]:
        del p.extra_generation_params[key]  # the cells of an X/Y/Z plot share this mapping, and the next one
    for text in [t for t in getattr(p, "comments", None) or {} if t.startswith(COMMENT)]:
        del p.comments[text]
    axes: Mapping[str, Any] = getattr(p, XYZ_ATTRIBUTE, {})
    if not wants([axes["enabled"]] if "enabled" in axes else values):
        return None
    try:
        parsed = parse(values).with_values(axes)
    except FouriScaleError as error:
        refused = Run(p, Parsed(DEFAULTS), environment)
        refused.skip(str(error))
        refused.finish()
        return None
    if not parsed.args.enabled:
        return None
    run = Run(p, parsed, environment)
    setattr(p, ATTRIBUTE, run)
    run.wrap_close()
    return run


def run_of(p: Any) -> Run | None:
    """The run of this generation, if FouriScale takes part in it."""
    return getattr(p, ATTRIBUTE, None)


def remove_leftovers(p: Any) -> None:
    """Close whatever session an earlier generation left on the model, and this object's own run."""
    run = run_of(p)
    if run is not None and run.is_of(p):
        run.finish()
    elif run is not None:  # this is a copy of another generation's object, which goes on
        delattr(p, ATTRIBUTE)
    try:
        vae.remove_leftovers(p.sd_model)
        unet = find_unet(p.sd_model)
    except (FouriScaleError, AttributeError):
        return
    while (session := session_on(unet)) is not None:
        session.close()


def _reserve_memory(p: Any, size: tuple[int, int]) -> None:
    """Tell Forge about the weak rows, on a copy of its patcher that the host drops after the pass."""
    objects = p.sd_model.forge_objects
    patcher = getattr(objects, "unet", None)
    needed = ("clone", "memory_required", "add_extra_preserved_memory_during_sampling")
    if patcher is None or not all(hasattr(patcher, name) for name in needed):
        return
    patcher = patcher.clone()
    rows = max(1, int(getattr(p, "batch_size", 1)))
    patcher.add_extra_preserved_memory_during_sampling(
        int(patcher.memory_required([rows, 4, size[1] // 8, size[0] // 8]))
    )
    objects.unet = patcher
