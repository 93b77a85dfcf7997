"""What happened in the UNet calls of one session, and what there is to say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..maths.schedule import Progress, position
from ..planning.plans import Plan

COMPILED = "the UNet ran compiled by torch.compile, which leaves hooks out"
UNREACHED = (
    "none of the UNet's convolutions that it changes was called as a module: the UNet is compiled, or another "
    "extension computes in its place"
)
UNAMPLIFIED = (
    "amplified or damped guidance had no effect in {calls} of {total} UNet calls, as it is not known which cond and "
    "uncond rows belong together, or they were not in one call"
)


@dataclass
class Outcome:
    """Counts of one session's UNet calls. Every call that ends without an error is in exactly one of the first five.

    at_work: the method acted. beyond: at a progress where the method leaves the UNet plain. other_size: plain, because
    the call had another size than planned. unreached: the method should have acted, but no hook on a convolution ran.
    compiled: torch.compile traced the UNet with its hooks, so that nothing was done. partly: calls at work in which
    fewer hooks ran than there are; reached: the least number of hooks that ran in those, of `hooks`. unpaired: calls
    without the amplified or noise-damped guidance that they should have had. not_coarse: why calls of the coarse start
    were made at full size. assumed: whether the coarse start had to assume the model's noise schedule. first: progress
    of the first call. size: (width, height) in pixels of the last call of another size.
    """

    hooks: int = 0
    at_work: int = 0
    beyond: int = 0
    other_size: int = 0
    unreached: int = 0
    compiled: int = 0
    partly: int = 0
    reached: int = 0
    unpaired: int = 0
    not_coarse: str = ""
    assumed: bool = False
    first: Progress | None = None
    size: tuple[int, int] = (0, 0)

    @property
    def total(self) -> int:
        """All UNet calls that ended without an error."""
        return self.at_work + self.beyond + self.other_size + self.unreached + self.compiled

    def count_plain(self, why: Literal["beyond", "other_size"]) -> None:
        """Count a call that was left plain."""
        if why == "beyond":
            self.beyond += 1
        else:
            self.other_size += 1

    def count_hooks_that_ran(self, ran: int) -> bool:
        """Count a call in which the method should have acted and `ran` hooks did; whether any did."""
        if ran == 0 and self.hooks:
            self.unreached += 1
            return False
        self.at_work += 1
        if ran < self.hooks:
            self.reached = min(ran, self.reached) if self.partly else ran
            self.partly += 1
        return True

    def to_dict(self) -> dict[str, int]:
        """Plain numbers for reports: how many calls there were of each kind."""
        names = ("at_work", "beyond", "other_size", "unreached", "compiled", "partly", "unpaired")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Verdict:
    """What a report, a picture's comment and its infotext say about a run; all of them read this and nothing else.

    worked: whether the method acted in any call. reason: a sentence why it did not, or None. prevented: whether it
    should have acted. notes: sentences about what had no effect although the method acted.
    """

    worked: bool
    reason: str | None
    prevented: bool
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str | None:
        """The reason, as what the reader sees of it."""
        if self.reason is None:
            return None
        return f"had no effect, because {self.reason}" if self.prevented else f"skipped: {self.reason}"


def verdict(outcome: Outcome, plan: Plan) -> Verdict:
    """What there is to say about a run by `plan`."""
    if outcome.at_work:
        return Verdict(True, None, False, tuple(_notes(outcome, plan)))
    if outcome.compiled or outcome.unreached:
        return Verdict(False, COMPILED if outcome.compiled else UNREACHED, True)
    if outcome.other_size:
        return Verdict(False, _other_size(outcome, plan), True)
    if outcome.beyond and outcome.first is not None:
        begun, stop = position(outcome.first), plan.stop
        return Verdict(
            False, f"the pass begins at {begun:.0%} of the trajectory, and FouriScale stops at {stop:.0%}", False
        )
    return Verdict(False, None, False)  # no call at all: the run was interrupted before the first


def _other_size(outcome: Outcome, plan: Plan) -> str:
    width, height = outcome.size
    which = "every UNet call" if outcome.other_size == outcome.total else "every UNet call in which it should act"
    return (
        f"{which} had another size than planned ({width}×{height} instead of {plan.size[0]}×{plan.size[1]} pixels), "
        "as in tiled sampling"
    )


def _notes(outcome: Outcome, plan: Plan) -> list[str]:
    total, notes = outcome.total, []
    if outcome.unpaired:
        notes.append(UNAMPLIFIED.format(calls=outcome.unpaired, total=total))
    if outcome.not_coarse:
        notes.append(f"made no coarse start, because {outcome.not_coarse}")
    if outcome.assumed:
        notes.append(
            "assumed Stable Diffusion's noise schedule for the coarse start, as the host did not tell the model's"
        )
    if outcome.unreached or outcome.compiled:
        because = COMPILED if outcome.compiled else UNREACHED
        calls = outcome.unreached + outcome.compiled
        notes.append(f"had no effect in {calls} of {total} UNet calls, because {because}")
    if outcome.partly:
        notes.append(
            f"had part of its effect in {outcome.partly} of {total} UNet calls: only {outcome.reached} of "
            f"{outcome.hooks} convolutions were called as modules; the others are compiled, or left out by another "
            "extension"
        )
    if outcome.other_size:
        notes.append(
            f"left {outcome.other_size} of {total} UNet calls plain, because they had another size than planned "
            f"({outcome.size[0]}×{outcome.size[1]} instead of {plan.size[0]}×{plan.size[1]} pixels)"
        )
    return notes
