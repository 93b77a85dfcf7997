"""Fast mode's second part: every second step adds what the weak rows changed in the step before."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fouriscale as fs
from fouriscale import model as bundled
from fouriscale.hooks.kept import KeptDifferences
from fouriscale.hooks.rows import RowMap
from fouriscale.hosts.diffusers.pipeline import set_scheduler
from fouriscale.hosts.diffusers.sampling import load
from unets import build, inputs, largest, noise, pick, run, traces

PX, LATENT = 160, 20
ROWS = ("uncond", "cond")
# A stop-band keeps the convolutions off the coarse grid, so that only what is tested here is not exact.
EXACT = {"sd15": fs.Settings(stopband_strong=0.3), "sdxl": fs.Settings()}


def fast(family: str, **changes: Any) -> fs.Settings:
    return EXACT[family].replace(fast=True, **changes)


def trajectory(unet: nn.Module, plan: fs.Plan, calls: Iterable[tuple[Any, Any, dict[str, Any]]]) -> list[Tensor]:
    """Outputs of calls (progress, rows, inputs) in one session."""
    outputs = []
    with fs.attach(unet, plan) as session, torch.no_grad():
        for progress, rows, kwargs in calls:
            session.progress, session.rows = progress, rows
            outputs.append(unet(**kwargs).sample)
    return outputs


def expected(
    unet: nn.Module, plan: fs.Plan, now: dict[str, Any], before: dict[str, Any], steps: tuple[int, int]
) -> Any:
    """Strong estimates of `now`; the cond row moved by weak − strong of `before`. From calls of their own."""
    strong_now = run(unet, now, plan, None, (steps[1], 50))
    strong_before = run(unet, before, plan, None, (steps[0], 50))
    weak_before = run(unet, before, plan, ROWS, (steps[0], 50))
    result = strong_now.clone()
    result[1] += weak_before[1] - strong_before[1]
    return result


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("low_memory", [False, True])
def test_every_second_step_uses_the_differences_of_the_step_before(family: str, low_memory: bool) -> None:
    unet = build(family)
    exact = fs.plan(unet, PX, PX, EXACT[family])
    plan = fs.plan(unet, PX, PX, fast(family, low_memory=low_memory))
    xs = [inputs(family, 2, LATENT, LATENT, seed=10 * i) for i in range(5)]
    # the last two lie in the annealing: different dilations, different filters
    steps = [0, 1, 2, 15 if family == "sd15" else 30, 16 if family == "sd15" else 31]
    found = trajectory(unet, plan, [((i, 50), ROWS, x) for i, x in zip(steps, xs, strict=True)])
    for k in (0, 2, 4):
        assert largest(found[k] - run(unet, xs[k], exact, ROWS, (steps[k], 50))) <= 1e-5
    for k in (1, 3):
        wanted = expected(unet, exact, xs[k], xs[k - 1], (steps[k - 1], steps[k]))
        assert largest(found[k] - wanted) <= 1e-5
        assert largest(found[k] - run(unet, xs[k], exact, ROWS, (steps[k], 50))) > 1e-4


def test_it_is_exact_where_nothing_changes_between_steps() -> None:
    unet = build("sdxl")
    x = inputs("sdxl", 4, LATENT, LATENT)
    plan = fs.plan(unet, PX, PX, fast("sdxl"))
    first, second, third = trajectory(unet, plan, [((i, 50), ROWS, x) for i in range(3)])
    assert largest(first - second) <= 1e-5
    assert torch.equal(first, third)


def rows_seen(unet: nn.Module, plan: fs.Plan, calls: Iterable[tuple[Any, Any, dict[str, Any]]]) -> list[int]:
    seen: list[int] = []
    handle = unet.get_submodule("conv_out").register_forward_hook(lambda m, a, o: seen.append(len(o)))
    trajectory(unet, plan, calls)
    handle.remove()
    return seen


def test_the_unet_has_three_rows_and_two_in_turn_until_stop() -> None:
    unet = build("sd15")
    x = inputs("sd15", 2, LATENT, LATENT)
    plan = fs.plan(unet, PX, PX, fast("sd15", start=0.5, stop=0.5))
    assert rows_seen(unet, plan, [((i, 10), ROWS, x) for i in range(8)]) == [3, 2, 3, 2, 3, 2, 2, 2]
    # as fractions, and as the UNet's own timesteps
    assert rows_seen(unet, plan, [(i / 10, ROWS, x) for i in range(6)]) == [3, 2, 3, 2, 3, 2]
    own = [(None, ROWS, {**x, "timestep": t}) for t in (999, 900, 800, 700, 300)]
    assert rows_seen(unet, plan, own) == [3, 2, 3, 2, 2]


def test_calls_of_a_step_are_told_apart() -> None:
    """A prompt with AND: two calls of one cond row each, and one of uncond rows; or a sampler with two calls a step."""
    unet = build("sdxl")
    exact, plan = (fs.plan(unet, PX, PX, settings) for settings in (EXACT["sdxl"], fast("sdxl")))
    x = inputs("sdxl", 3, LATENT, LATENT)
    single = [pick(x, [k]) for k in range(3)]
    calls = [((i, 50), (label,), single[k]) for i in (0, 1) for k, label in enumerate(("cond", "uncond", "cond"))]
    found = trajectory(unet, plan, calls)
    for k, label in enumerate(("cond", "uncond", "cond")):
        wanted = run(unet, single[k], exact, (label,), (0, 50))
        assert largest(found[k] - wanted) <= 1e-5
        assert largest(found[3 + k] - wanted) <= 1e-5  # the same call again: its own difference, not the other's
    assert rows_seen(unet, plan, calls) == [2, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("other", ["rows", "batch", "size"])
def test_a_call_of_another_form_is_computed_in_full(other: str) -> None:
    unet = build("sd15")
    plan = fs.plan(unet, PX, PX, fast("sd15"))
    x = inputs("sd15", 2, LATENT, LATENT)
    second = {"rows": (ROWS[::-1], x), "batch": (ROWS, inputs("sd15", 4, LATENT, LATENT)), "size": (ROWS, x)}[other]
    seen = rows_seen(unet, plan, [((0, 50), ROWS, x), ((1, 50), *second), ((2, 50), *second)])
    if other == "size":
        assert seen == [3, 2, 3]
    else:
        assert seen == [3, 3 * len(second[1]["sample"]) // 2, len(second[1]["sample"])]


def test_a_new_picture_starts_anew() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, PX, PX, fast("sd15"))
    x = inputs("sd15", 2, LATENT, LATENT)
    calls = [((i, 50), ROWS, x) for i in (0, 1, 2, 0, 1, 2)]
    assert rows_seen(unet, plan, calls) == [3, 2, 3, 3, 2, 3]


def test_a_step_that_was_broken_off_leaves_nothing_to_use() -> None:
    unet = build("sd15")
    before = traces(unet)
    plan = fs.plan(unet, PX, PX, fast("sd15"))
    x = inputs("sd15", 2, LATENT, LATENT)
    with fs.attach(unet, plan) as session, torch.no_grad():
        session.progress = (0, 50)

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        handle = unet.conv_out.register_forward_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            unet(**x)
        handle.remove()
        session.progress = (1, 50)
        found = unet(**x).sample
        assert session.kept is not None
    assert session.kept is None
    assert largest(found - run(unet, x, fs.plan(unet, PX, PX, EXACT["sd15"]), ROWS, (1, 50))) <= 1e-5
    assert traces(unet) == before


def test_with_amplified_guidance() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, PX, PX, fast("sd15", amp_guidance=2.0))
    xs = [inputs("sd15", 2, LATENT, LATENT, seed=s) for s in (1, 9)]
    found = trajectory(unet, plan, [((i, 50), ROWS, x) for i, x in enumerate(xs)])[1]
    wanted = expected(unet, fs.plan(unet, PX, PX, EXACT["sd15"]), xs[1], xs[0], (0, 1))
    assert largest(found[1] - (wanted[0] + 2.0 * (wanted[1] - wanted[0]))) <= 1e-5
    assert largest(found[0] - wanted[0]) <= 1e-5


def test_nothing_is_kept_across_steps_whose_weak_rows_would_be_their_rows() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, PX, PX, fast("sd15", start=0.1, stop=0.7))
    x = inputs("sd15", 2, LATENT, LATENT)
    differ = [plan.method.has_weak_rows(plan.method.dilation_at((i, 20))) for i in range(20)]
    last = differ.index(False)
    assert differ == [True] * last + [False] * (20 - last)
    steps = [0, 1, 2, last, 3]
    assert rows_seen(unet, plan, [((i, 20), ROWS, x) for i in steps]) == [3, 2, 3, 2, 3]


@pytest.mark.parametrize("changes", [{"guidance": False}, {"method": "scalecrafter"}, {"method": "attn-entropy"}])
def test_only_weak_rows_are_kept(changes: dict[str, Any]) -> None:
    unet = build("sd15")
    slow, quick = (fs.plan(unet, PX, PX, fs.Settings(fast=f, stopband_strong=0.3, **changes)) for f in (False, True))
    assert not quick.method.keeps_weak
    xs = [inputs("sd15", 2, LATENT, LATENT, seed=s) for s in (1, 9)]
    calls = [((i, 50), ROWS, x) for i, x in enumerate(xs)]
    for one, other in zip(trajectory(unet, slow, calls), trajectory(unet, quick, calls), strict=True):
        assert torch.equal(one, other)


def test_every_tensor_of_an_output_record_in_the_order_it_stands() -> None:
    rows = RowMap(2, (1,))
    kept = KeptDifferences()
    assert not kept.next_call(0.0, rows, torch.Size((2, 1)))
    first, second, other = noise(3, 4), noise(3, 2, seed=1), noise(7)
    kept.keep({"a": first, "b": (second, other)}, rows)
    assert kept.next_call(0.1, rows, torch.Size((2, 1)))
    zero = {"a": torch.zeros(2, 4), "b": (torch.zeros(2, 2), other)}
    found = kept.applied(zero, rows)
    torch.testing.assert_close(found["a"], torch.stack((torch.zeros(4), first[2] - first[1])))
    torch.testing.assert_close(found["b"][0], torch.stack((torch.zeros(2), second[2] - second[1])))
    assert found["b"][1] is other
    assert (zero["a"] == 0).all()
    assert not kept.next_call(0.2, rows, torch.Size((2, 1)))


def test_the_estimate_counts_weak_rows_in_every_second_step() -> None:
    for family in ("sd15", "sd21", "sdxl"):
        slow, quick = (fs.plan_family(family, 2048, 2048, fs.Settings(fast=f)) for f in (False, True))
        counts = [sum(plan.method.weak_rows_by_step()) for plan in (slow, quick)]
        assert counts[1] == -(-counts[0] // 2)
        assert (quick.cost - 1.0) / (slow.cost - 1.0) == pytest.approx(counts[1] / counts[0])


def test_what_was_kept_is_nearer_to_the_truth_than_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the bundled model, with noise added in every step; without keeping anything the error would be 1."""
    pipe = load(str(bundled.folder()), torch.float32, "cpu")
    set_scheduler(pipe, "ddim")
    differences: list[Tensor] = []
    fold = RowMap.fold

    def noted(rows: RowMap, tree: Any) -> Any:
        x = tree[0] if isinstance(tree, tuple) else tree.sample
        differences.append(x[rows.batch :] - x[list(rows.sources)])
        return fold(rows, tree)

    monkeypatch.setattr(RowMap, "fold", noted)
    with fs.attach(pipe.unet, fs.plan(pipe.unet, 512, 512)) as session:
        session.progress = (0, 50)

        def step(_: Any, i: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            session.progress = (i + 1, 50)
            pipe._interrupt = i == 7
            return tensors

        pipe(
            ["owl"], width=512, height=512, num_inference_steps=50, guidance_scale=4.0, eta=1.0, output_type="latent",
            generator=torch.Generator().manual_seed(1), callback_on_step_end=step,
        )  # fmt: skip
    errors = [((b - a).norm() / b.norm()).item() for a, b in itertools.pairwise(differences)]
    assert len(errors) == 7  # of eight steps
    assert sum(errors) / len(errors) < 0.45
    assert all(0.05 < error < 0.7 for error in errors)
