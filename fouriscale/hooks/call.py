"""What is decided about one UNet call: one frozen record, made by one pure function. Hooks only read it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ..maths.schedule import Progress
from ..methods.base import Method
from ..planning.plans import Plan
from .rows import RowMap

Cells = tuple[int, int]  # height, width of a latent


@dataclass(frozen=True)
class HostSays:
    """What a host says of one call, beside its rows (`CallAdapter`).

    share_stages: early blocks may run without the weak rows. one_kind: cond and uncond rows must be in UNet calls of
    their own. not_coarse: why this call cannot be made at a smaller size, or "".
    """

    share_stages: bool = True
    one_kind: bool = False
    not_coarse: str = ""


@dataclass(frozen=True)
class Call:
    """Everything that is decided about one UNet call.

    method: of the size that the UNet works at. dilation: None where its convolutions stay plain. plain_because:
    "beyond" the method's window, "other_size" than planned, or None where something is done. freeu: whether it acts.
    weak: the rows that get weak rows in this call, as they stand in it; None: no row does. rest: in low memory, the
    host's rows that a second call computes; `host` are then all of the host's rows. share_stages: blocks before the
    first hooked convolution are computed once for a row and its weak row. reused: rows to which the step before lends
    what its weak rows changed (fast). amplified: rows whose guidance is multiplied by `factor`. unpaired: whether it
    should have been, but cannot be. not_coarse: why a call of the coarse start is made at full size. coarse: (height,
    width) of the latent that the UNet is given instead of the host's.
    """

    progress: Progress
    method: Method
    dilation: float | None = None
    plain_because: Literal["beyond", "other_size"] | None = None
    freeu: bool = True
    weak: RowMap | None = None
    host: RowMap | None = None
    rest: tuple[int, ...] = ()
    share_stages: bool = True
    reused: RowMap | None = None
    amplified: RowMap | None = None
    factor: float = 1.0
    unpaired: bool = False
    not_coarse: str = ""
    coarse: Cells | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether convolutions, or attention, are to be changed."""
        return self.dilation is not None

    def without_weak_rows(self) -> Call:
        """The same call, to which the step before lends what its weak rows changed."""
        return dataclasses.replace(self, weak=None, host=None, rest=(), reused=self.host)

    def second_half(self) -> Call:
        """The call that computes `rest`: as dilated, without weak rows."""
        return dataclasses.replace(self, weak=None, rest=())


def decide(plan: Plan, progress: Progress, cells: Cells, rows: RowMap | None, host: HostSays) -> Call:
    """What is done in a call of a latent of `cells`, at `progress`. Pure.

    rows: the host's rows by `plan`'s weak label; None where they are not known.
    """
    stage = plan.stage_at(progress)
    if cells != plan.cells:
        acts = stage is not None or plan.method.dilation_at(progress) is not None
        return Call(progress, plan.method, plain_because="other_size" if acts else "beyond", freeu=False)
    not_coarse = host.not_coarse if stage is not None else ""
    if not_coarse:
        stage = None
    method = plan.method if stage is None else stage.plan.method
    coarse = None if stage is None else stage.cells
    if stage is not None and not stage.plan.active:
        return Call(progress, method, coarse=coarse)
    dilation = method.dilation_at(progress)
    if dilation is None:
        because: Literal["beyond"] | None = "beyond" if stage is None else None
        return Call(progress, method, plain_because=because, coarse=coarse, not_coarse=not_coarse)
    call = Call(progress, method, dilation, coarse=coarse, share_stages=host.share_stages, not_coarse=not_coarse)
    return _with_weak_rows(_with_guidance(call, rows), rows, plan.settings.low_memory or host.one_kind)


def _with_guidance(call: Call, rows: RowMap | None) -> Call:
    factor = call.method.amplification(call.progress)
    if factor == 1.0:
        return call
    if rows is not None and rows.is_paired:
        return dataclasses.replace(call, amplified=rows, factor=factor)
    return dataclasses.replace(call, unpaired=rows is None or bool(rows.cond))


def _with_weak_rows(call: Call, rows: RowMap | None, apart: bool) -> Call:
    """apart: rows with weak rows and rows without are computed in calls of their own."""
    label, dilation = call.method.weak_label, call.dilation
    if label is None or dilation is None:
        return call
    if label == "uncond" and (rows is None or not rows.is_paired):
        # Damped rows change the guidance of their own sample's cond rows, so these must be known.
        return dataclasses.replace(call, unpaired=rows is None or bool(rows.cond))
    if rows is None or not rows.sources or not call.method.weak_rows_differ(dilation):
        return call
    if not (apart and rows.is_mixed):
        return dataclasses.replace(call, weak=rows, host=rows)
    rest = tuple(row for row in range(rows.batch) if row not in rows.sources)
    count = len(rows.sources)
    # The weak rows need the queries and keys of their own rows only, so nothing is kept between the two calls.
    inner = RowMap(count, tuple(range(count)))
    return dataclasses.replace(call, weak=inner, host=rows, rest=rest)
