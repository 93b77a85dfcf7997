"""The life of the hooks: attach … close, and nothing left behind. What a call does is decided in `call.py`."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from ..filters.cache import FilterCache
from ..maths.noise import NoiseSchedule
from ..maths.schedule import Progress, progress_of_timestep
from ..planning.plans import Plan
from ..unet.compiled import is_compiling
from ..unet.gradients import refuse_checkpointing
from .adapter import CallAdapter
from .arguments import latent_of, timestep_of
from .call import Call, HostSays, decide
from .coarse import CoarseStart, wraps
from .current import CurrentCall
from .kept import KeptDifferences
from .modules import ModuleHooks
from .outcome import Outcome, Verdict, verdict
from .rows import RowMap, check_labels, map_tensors
from .split import SecondHalf


class Session:
    """Hooks on one UNet, by one plan. Made by `attach`; use it as a context manager or call `close`.

    rows: labels ("uncond", "cond") of equal chunks of the batch, settable at any time; None: no row gets a weak row.
    `label` also says which sample each row is of, where the labels alone do not. noise: the model's schedule, for the
    coarse start. progress: how far the trajectory is, a fraction or the pair (step, steps); None: from the UNet's own
    timesteps. history: (progress, dilation) of the latest calls, 1.0 where the UNet was plain. outcome: counts of what
    happened in the calls. kept: in fast mode, what the weak rows changed in the step before.
    """

    def __init__(
        self,
        unet: torch.nn.Module,
        plan: Plan,
        rows: Sequence[str] | None = ("uncond", "cond"),
        adapter: CallAdapter | None = None,
        noise: NoiseSchedule | None = None,
    ):
        self.plan = plan
        self.progress: Progress | None = None
        self.history: deque[tuple[Progress, float]] = deque(maxlen=1000)
        self.outcome = Outcome()
        self.closed = False
        self.rows = rows
        self.kept = KeptDifferences() if plan.method.keeps_weak else None
        self._adapter = adapter or CallAdapter()
        self._noise = noise
        self._unet = unet
        self._current = CurrentCall()
        self._handles: list[RemovableHandle] = []
        self._modules: ModuleHooks | None = None
        self._filters = FilterCache()
        self._outer: Session | None = None
        self._resting = False
        self._second: SecondHalf | None = None
        self._coarse = CoarseStart(noise, plan.levels, plan.predicts, wraps(unet)) if plan.stages else None

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
        """Number of calls that amplified or damped guidance could not act on, as it was not known which cond and
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
        return len(self._handles) + (0 if self._modules is None else len(self._modules))

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
        self._modules = ModuleHooks(self._unet, self.plan, self._current, self._filters, self._adapter)
        self._handles = [
            self._unet.register_forward_pre_hook(self._before, with_kwargs=True),
            self._unet.register_forward_hook(self._after, always_call=True),
        ]
        self.outcome.hooks = self._modules.acting

    def _detach(self) -> None:
        self._reset()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._modules is not None:
            self._modules.remove()
            self._modules = None

    def close(self) -> None:
        """Remove every hook and restore every attribute. Safe to call twice, and at any moment.

        The youngest session that rests because of this one goes on; one that rests itself has nothing to hand back.
        """
        self._detach()
        self._filters, self.kept, self._coarse = FilterCache(), None, None
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
        self._current.clear()
        self._second = None
        if self._coarse is not None:
            self._coarse.forget()
        if self._modules is not None:
            self._modules.restore()

    def _before(self, unet: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if is_compiling():
            # Nothing is done, and this line becomes part of the compiled code: it counts each of its calls.
            self.outcome.compiled += 1
            return None
        if self._second is not None and self._second.running:
            return None
        self._reset()
        args, kwargs = self._adapter.before(self, args, kwargs)
        latent = latent_of(args, kwargs)
        call = self._decide(latent, args, kwargs)
        self._note(call, latent)
        if call.is_at_work:
            refuse_checkpointing(unet)
        if self.kept is not None and call.dilation is not None:
            if not call.method.weak_rows_differ(call.dilation):
                self.kept.forget()
            # Differences are of the size that the UNet works at: the next stage has no use for them.
            elif call.host is not None and self.kept.next_call(
                call.progress, call.host, call.coarse or self.plan.cells
            ):
                call = call.without_weak_rows()
        self._current.value = call
        if call.coarse is not None and self._coarse is not None:
            args, kwargs = self._coarse.enter(call.coarse, args, kwargs)
        if call.weak is None or call.host is None:
            return args, kwargs
        if call.rest:
            self._second = SecondHalf(call, self._adapter, args, kwargs)
            return self._second.first(args, kwargs)
        origin = [*range(call.host.batch), *call.host.sources]
        return self._adapter.regrouped(call.host.batch, origin, call.weak.append(args), call.weak.append(kwargs))

    def _decide(self, latent: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        label = self.plan.method.weak_label or "cond"
        rows = None if self._rows is None else RowMap.of(self._rows, latent.shape[0], label, self._samples)
        says = HostSays(
            self._adapter.may_share_stages(kwargs),
            self._adapter.one_kind_per_call(kwargs),
            self._adapter.not_coarse(self._unet, args, kwargs) if self.plan.stages else "",
        )
        return decide(self.plan, self._progress(args, kwargs), (latent.shape[-2], latent.shape[-1]), rows, says)

    def _note(self, call: Call, latent: torch.Tensor) -> None:
        self.history.append((call.progress, 1.0 if call.dilation is None else call.dilation))
        self.outcome.first = call.progress if self.outcome.first is None else self.outcome.first
        self.outcome.unpaired += call.unpaired
        self.outcome.not_coarse = call.not_coarse or self.outcome.not_coarse
        self.outcome.assumed |= call.coarse is not None and self._noise is None and self.plan.predicts
        if not self.is_planned(latent) and (call.plain_because == "other_size" or self.plan.freeu is not None):
            self._warn(latent)

    def _after(self, unet: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if is_compiling() or (self._second is not None and self._second.running):
            return None
        call = self._current.value
        if call is None or output is None:  # None: the forward raised
            self._reset()
            return None
        if call.plain_because is not None:
            self.outcome.count_plain(call.plain_because)
            self._reset()
            return None
        ran = len(self._current.ran)
        try:
            if self._second is not None:
                output = self._second.run(unet, output, self._current)
            if not call.is_at_work:
                self.outcome.at_work += 1
            elif self.outcome.count_hooks_that_ran(ran):
                output = self._folded(call, output)
            elif call.host is not None and call.weak is not None:
                # No hook ran: the weak rows are their rows, and the picture stays plain.
                host = call.host
                output = map_tensors(output, host.total, lambda x: x[: host.batch])
            if call.coarse is not None and self._coarse is not None:
                output = self._coarse.leave(output)
        finally:
            self._reset()
        return output

    def _folded(self, call: Call, output: Any) -> Any:
        """`output` of the host's rows, from one of the host's and the weak rows."""
        if call.weak is not None and call.host is not None:
            if self.kept is not None:
                self.kept.keep(output, call.host)
            output = call.host.fold(output)
        elif call.reused is not None and self.kept is not None:
            output = self.kept.applied(output, call.reused)
        amplified, factor = call.amplified, call.factor
        if amplified is None:
            return output
        return map_tensors(output, amplified.batch, lambda x: amplified.amplify(x, factor))

    def _progress(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Progress:
        if self.progress is not None:
            return self.progress
        timestep = timestep_of(args, kwargs)
        return progress_of_timestep(timestep.flatten()[0].item() if isinstance(timestep, torch.Tensor) else timestep)

    def is_planned(self, latent: torch.Tensor) -> bool:
        """Whether a latent has the size that was planned for; calls with another are left plain."""
        return (latent.shape[-2], latent.shape[-1]) == self.plan.cells

    def _warn(self, latent: torch.Tensor) -> None:
        width, height = self.plan.size
        self.outcome.size = 8 * latent.shape[-1], 8 * latent.shape[-2]
        warnings.warn(
            f"FouriScale was planned for {width}×{height} pixels but the UNet was called with a latent of "
            f"{latent.shape[-1]}×{latent.shape[-2]} ({8 * latent.shape[-1]}×{8 * latent.shape[-2]} pixels): left plain",
            stacklevel=3,
        )


def session_on(unet: torch.nn.Module) -> Session | None:
    """The session whose hooks are on `unet` now, found by looking at the hooks themselves."""
    for hook in unet._forward_pre_hooks.values():
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, Session):
            return owner
    return None
