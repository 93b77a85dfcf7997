"""The life of the hooks: attach … close, and nothing left behind."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from .adapter import CallAdapter
from .maths.cache import FilterCache
from .maths.schedule import Progress, progress_of_timestep
from .outcome import Outcome, Verdict, verdict
from .plans import Plan
from .unet.attention_hook import EntropyHook
from .unet.compiled import is_compiling
from .unet.conv_hook import Call, ConvHook, CurrentCall
from .unet.freeu_hook import FreeUHook
from .unet.gradients import refuse_checkpointing
from .unet.kept_twins import KeptTwins
from .unet.rows import RowMap, check_labels, join_tensors, map_tensors, select
from .unet.twins import TwinSharing


@dataclass
class Later:
    """The second half of a call in low-memory mode: the arguments of the rows in `rest`, which have no twins."""

    rows: RowMap
    rest: tuple[int, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    running: bool = False

    def joined(self, first: Any, second: Any) -> Any:
        """One output of all rows and twins, in the order of a call that was not split."""
        count, order = len(self.rows.sources), [0] * self.rows.batch
        for position, row in enumerate((*self.rows.sources, *self.rest)):
            order[row] = position if position < count else position + count
        order += range(count, 2 * count)
        return join_tensors(first, second, 2 * count, lambda x, y: torch.cat((x, y))[order])


class Session:
    """Hooks on one UNet, by one plan. Made by `attach`; use it as a context manager or call `close`.

    rows: labels ("uncond", "cond") of equal chunks of the batch, settable at any time; None: no row gets a weak twin.
    `label` also says which sample each row is of, where the labels alone do not.
    progress: how far the trajectory is, a fraction or the pair (step, steps); None: from the UNet's own timesteps.
    history: (progress, dilation) of the latest calls. outcome: counts of what happened in the calls.
    kept_twins: in fast mode, what the twins changed in the step before.
    """

    def __init__(
        self,
        unet: torch.nn.Module,
        plan: Plan,
        rows: Sequence[str] | None = ("uncond", "cond"),
        adapter: CallAdapter | None = None,
    ):
        self.plan = plan
        self._adapter = adapter or CallAdapter()
        self.progress: Progress | None = None
        self.history: deque[tuple[Progress, float]] = deque(maxlen=1000)
        self.outcome = Outcome()
        self.closed = False
        self.rows = rows
        self._unet = unet
        self._current = CurrentCall()
        self._filters = FilterCache()
        self._convs: list[ConvHook] = []
        self._handles: list[RemovableHandle] = []
        self._stand_ins: list[Any] = []  # for parts of the host's attention; each has remove()
        self._outer: Session | None = None
        self._amplified: RowMap | None = None
        self._later: Later | None = None
        self.kept_twins = KeptTwins() if plan.keeps_twins else None
        self._without_twins: RowMap | None = None
        self._resting = False
        self._differing = (0.0, True)  # at which dilation twins differ, or do not
        self._plain_because: str | None = None  # the outcome's count for the call that is under way, if it is plain

    @property
    def rows(self) -> tuple[str, ...] | None:
        """Labels of equal chunks of the batch, or None."""
        return self._rows

    @rows.setter
    def rows(self, labels: Sequence[str] | None) -> None:
        self.label(labels)

    def label(self, labels: Sequence[str] | None, samples: Sequence[int | None] | None = None) -> None:
        """Say what the rows of the coming calls are: labels of equal chunks, and the number of each row's sample.

        samples: one number for each row of the batch, None in it for a row of which it is not known. Without it, the
        labels say it where they can (`samples_of_chunks`). Rows that are not known to belong together get no amplified
        or damped guidance. Raises RowsError for bad labels.
        """
        self._rows, self._samples = check_labels(labels), None if samples is None else tuple(samples)

    @property
    def calls(self) -> int:
        """Number of calls in which the method was at work."""
        return self.outcome.at_work

    @property
    def unamplified(self) -> int:
        """Number of calls that amplified or noise-damped guidance could not act on, as it was not known which cond and
        uncond rows belong together, or they were not in one call.
        """
        return self.outcome.unpaired

    @property
    def verdict(self) -> Verdict:
        """What there is to say about the calls until now: whether the method acted, and if not, why."""
        return verdict(self.outcome, self.plan)

    @property
    def hooks(self) -> int:
        """Number of hooks that are attached now."""
        return len(self._handles)

    def attach(self) -> Session:
        """Register all hooks. A session that is already on this UNet rests until this one is closed."""
        if self._handles or self._resting or self.closed or not self.plan.active:
            return self
        self._outer = session_on(self._unet)
        if self._outer is not None:
            self._outer._detach()
            self._outer._resting = True
        try:
            self._register()
        except BaseException:
            self.close()
            raise
        return self

    def _register(self) -> None:
        unet, keep = self._unet, self._handles.extend
        keep([unet.register_forward_pre_hook(self._before, with_kwargs=True)])
        keep([unet.register_forward_hook(self._after, always_call=True)])
        for layer in self.plan.layers:
            conv = ConvHook(layer, self.plan, self._current, self._filters)
            self._convs.append(conv)
            keep(conv.attach(unet.get_submodule(layer.path)))
        if self.plan.freeu is not None:
            for path, backbone in self.plan.up_resnets:
                factors = self.plan.freeu.factors(backbone)
                if factors is not None:
                    keep(FreeUHook(self._current, backbone, *factors).attach(unet.get_submodule(path)))
        if self.plan.doubled is not None:
            for path in self.plan.shared:
                keep(TwinSharing(self._current, is_stage=True).attach(unet.get_submodule(path)))
        for path in self.plan.attention:
            if self.plan.doubled == "cond":
                self._stand_ins += self._adapter.join_attention(unet.get_submodule(path), self._current)
                for projection in ("to_q", "to_k"):
                    module = unet.get_submodule(f"{path}.{projection}")
                    keep(TwinSharing(self._current, is_stage=False).attach(module))
            if self.plan.settings.method == "attn-entropy":
                keep(EntropyHook(self._current, self.plan.area_ratio).attach(unet.get_submodule(f"{path}.to_q")))
        by_attention = self.plan.settings.method == "attn-entropy"
        self.outcome.hooks = len(self.plan.attention) if by_attention else len(self._convs)

    def _detach(self) -> None:
        self._reset()
        for handle in (*self._handles, *self._stand_ins):
            handle.remove()
        self._handles.clear()
        self._stand_ins.clear()
        self._convs.clear()

    def close(self) -> None:
        """Remove every hook and restore every attribute. Safe to call twice, and at any moment.

        The youngest session that rests because of this one goes on; one that rests itself has nothing to hand back.
        """
        self._detach()
        self._filters, self.kept_twins = FilterCache(), None
        if self.closed:
            return
        self.closed = True
        if self._resting:
            return
        outer, self._outer = self._outer, None
        while outer is not None and outer.closed:
            outer = outer._outer
        if outer is not None:
            outer._resting = False
            outer._register()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reset(self) -> None:
        self._current.value = None
        self._current.ran.clear()
        self._plain_because = None
        self._amplified = None
        self._later = None
        self._without_twins = None
        for conv in self._convs:
            conv.restore()

    def _before(self, unet: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if is_compiling():
            # Nothing is done, and this line becomes part of the compiled code: it counts each of its calls.
            self.outcome.compiled += 1
            return None
        if self._later is not None and self._later.running:
            return None
        self._reset()
        args, kwargs = self._adapter.before(self, args, kwargs)
        sample = latent_of(args, kwargs)
        progress = self._progress(args, kwargs)
        dilation = self.plan.dilation_at(progress)
        self.history.append((progress, dilation))
        if self.outcome.first is None:
            self.outcome.first = progress
        fits = self.is_planned(sample)
        if not fits and (dilation > 1.0 or self.plan.freeu is not None):
            self._warn(sample)
        if not fits or dilation <= 1.0:
            self._current.value = Call(1.0, None) if fits else None
            self._plain_because = "beyond" if dilation <= 1.0 else "other_size"
            return args, kwargs
        return self._dilated(sample, progress, dilation, args, kwargs)

    def _dilated(
        self, sample: torch.Tensor, progress: Progress, dilation: float, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Begin a call in which the method is at work: the arguments with twins, where rows have some."""
        refuse_checkpointing(self._unet)
        doubled = self.plan.doubled
        labelled = (
            None if self._rows is None else RowMap.of(self._rows, sample.shape[0], doubled or "cond", self._samples)
        )
        self._amplified = labelled if self._amplifies(progress, labelled) else None
        if doubled == "uncond" and (labelled is None or not labelled.is_paired):
            self.outcome.unpaired += labelled is None or bool(labelled.cond)
            labelled = None
        if doubled is None or labelled is None or not labelled.sources or not self._twins_differ(dilation):
            self._current.value = Call(dilation, None)
            return args, kwargs
        if self.kept_twins is not None and self.kept_twins.next_call(progress, labelled, sample.shape):
            self._without_twins = labelled
            self._current.value = Call(dilation, None)
            return args, kwargs
        share = self._adapter.may_share_stages(kwargs)
        if labelled.is_mixed and (self.plan.settings.low_memory or self._adapter.one_kind_per_call(kwargs)):
            return self._split(labelled, dilation, share, args, kwargs)
        self._current.value = Call(dilation, labelled, share)
        origin = [*range(labelled.batch), *labelled.sources]
        return self._adapter.regrouped(labelled.batch, origin, labelled.append(args), labelled.append(kwargs))

    def _twins_differ(self, dilation: float) -> bool:
        if self._differing[0] != dilation:
            self._differing = dilation, self.plan.twins_differ(dilation)
        if not self._differing[1] and self.kept_twins is not None:
            self.kept_twins.forget()
        return self._differing[1]

    def _split(self, rows: RowMap, dilation: float, share: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Low memory: this call keeps the doubled rows and their twins, another one will compute the rest.

        The twins need the queries and keys of their own rows only, so nothing is kept between the two calls.
        """
        rest = tuple(row for row in range(rows.batch) if row not in rows.sources)
        others = select((args, kwargs), rows.batch, rest)
        self._later = Later(rows, rest, *self._adapter.regrouped(rows.batch, rest, *others))
        count = len(rows.sources)
        inner = RowMap(count, tuple(range(count)))
        self._current.value = Call(dilation, inner, share)
        args, kwargs = select((args, kwargs), rows.batch, rows.sources * 2)
        return self._adapter.regrouped(rows.batch, [*rows.sources] * 2, args, kwargs)

    def _amplifies(self, progress: Progress, labelled: RowMap | None) -> bool:
        """Whether this call's cond rows are to be amplified; counts the calls where they cannot be."""
        settings = self.plan.settings
        if settings.amp_guidance == 1.0 or settings.method != "fouriscale" or not self.plan.before_start(progress):
            return False
        if labelled is not None and labelled.is_paired:
            return True
        self.outcome.unpaired += labelled is None or bool(labelled.cond)
        return False

    def _after(self, unet: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if is_compiling() or (self._later is not None and self._later.running):
            return None
        call, amplified, later, without = self._current.value, self._amplified, self._later, self._without_twins
        why = self._plain_because
        if output is not None and why is not None:
            setattr(self.outcome, why, getattr(self.outcome, why) + 1)
        if call is None or output is None or why is not None:  # output None: the forward raised
            self._reset()
            return None
        reached = self.outcome.count_hooks_that_ran(len(self._current.ran))
        rows = call.rows
        if later is not None:
            later.running = True
            self._current.value = Call(call.dilation, None)
            try:
                output = later.joined(output, unet(*later.args, **later.kwargs))
            finally:
                self._reset()
            rows = later.rows
        self._reset()
        if not reached:  # no hook ran: the twins are their rows, and the picture stays plain
            return output if rows is None else map_tensors(output, rows.total, lambda x: x[: rows.batch])
        if rows is not None:
            if self.kept_twins is not None:
                self.kept_twins.keep(output, rows)
            output = rows.fold(output)
        elif without is not None and self.kept_twins is not None:
            output = self.kept_twins.applied(output, without)
        if amplified is not None:
            factor = self.plan.settings.amp_guidance
            output = map_tensors(output, amplified.batch, lambda x: amplified.amplify(x, factor))
        return output

    def _progress(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Progress:
        if self.progress is not None:
            return self.progress
        timestep = args[1] if len(args) > 1 else kwargs["timestep"] if "timestep" in kwargs else kwargs["timesteps"]
        if isinstance(timestep, torch.Tensor):
            timestep = timestep.flatten()[0].item()
        return progress_of_timestep(timestep)

    def is_planned(self, sample: torch.Tensor) -> bool:
        """Whether a latent has the size that was planned for; calls with another are left plain."""
        width, height = self.plan.size
        return tuple(sample.shape[-2:]) == (height // 8, width // 8)

    def _warn(self, sample: torch.Tensor) -> None:
        width, height = self.plan.size
        self.outcome.size = 8 * sample.shape[-1], 8 * sample.shape[-2]
        warnings.warn(
            f"FouriScale was planned for {width}×{height} pixels but the UNet was called with a latent of "
            f"{sample.shape[-1]}×{sample.shape[-2]} ({8 * sample.shape[-1]}×{8 * sample.shape[-2]} pixels): left plain",
            stacklevel=3,
        )


def latent_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """The latent (rows, channels, height, width) that a UNet of either naming is called with."""
    sample: torch.Tensor = args[0] if args else kwargs["sample"] if "sample" in kwargs else kwargs["x"]
    return sample


def session_on(unet: torch.nn.Module) -> Session | None:
    """The session whose hooks are on `unet` now, found by looking at the hooks themselves."""
    for hook in unet._forward_pre_hooks.values():
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, Session):
            return owner
    return None


def count_hooks(unet: torch.nn.Module) -> int:
    """Number of FouriScale's hooks on `unet` and its layers, counted on the modules themselves."""
    owners = (Session, ConvHook, TwinSharing, FreeUHook, EntropyHook)
    return sum(
        isinstance(getattr(hook, "__self__", None), owners)
        for module in unet.modules()
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
        for hook in hooks.values()
    )


def attach(
    unet: torch.nn.Module,
    plan: Plan,
    rows: Sequence[str] | None = ("uncond", "cond"),
    adapter: CallAdapter | None = None,
) -> Session:
    """Hook `unet` by `plan` and return the session, which must be closed (or used with ``with``).

    rows: labels of equal chunks of the batch that the UNet will be called with. The call returns the same rows: uncond
    as it is, cond replaced by its weak estimate (paper, section 3.4). A plan that does nothing attaches nothing.
    adapter: what a WebUI host has to say about each call.
    Raises RowsError for bad labels.
    """
    return Session(unet, plan, rows, adapter).attach()
