"""Coarse start: the sampled points of a run at full size are an ordinary run at the training size."""

from __future__ import annotations

import sys
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

import fouriscale as fs
from fouriscale.filters.samples import SampleGrid
from fouriscale.hooks import count_hooks
from fouriscale.hooks.arguments import latent_of
from fouriscale.maths.noise import NoiseSchedule
from ldm_unets import ldm_inputs, to_ldm
from unets import BASE, build, inputs, largest, noise, pick, traces

STEPS = 6
TOLERANCE = 1e-4
SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SAMPLERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}, {"eta": 0.0}),
    "ddim eta 1": ("DDIMScheduler", {"clip_sample": False}, {"eta": 1.0}),
    "euler": ("EulerDiscreteScheduler", {}, {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}, {}),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {}, {}),
    "heun": ("HeunDiscreteScheduler", {}, {}),
}
THROUGHOUT = fs.Settings(coarse=1.0)


def schedule_of(prediction: str = "epsilon") -> NoiseSchedule:
    return NoiseSchedule(diffusers.DDIMScheduler(**SCHEDULE).alphas_cumprod, prediction)


def grid_of(plan: fs.Plan) -> SampleGrid:
    return SampleGrid(plan.cells, plan.stages[0].cells, torch.device("cpu"))


def sampled_run(
    unet: Any, name: str, latent: Tensor, noises: list[Tensor], monkeypatch: Any, prediction: str
) -> Tensor:
    """All steps of a sampler with CFG 3, as a host does it. noises: what the sampler adds, in order."""
    kind, options, arguments = SAMPLERS[name]
    scheduler = getattr(diffusers, kind)(**SCHEDULE, prediction_type=prediction, **options)
    left = iter(noises)
    for module in (sys.modules[type(scheduler).__module__],):
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(left).clone(), raising=False)
    scheduler.set_timesteps(STEPS)
    text = noise(2, 7, 8, seed=5)
    x = latent * scheduler.init_noise_sigma
    with torch.no_grad():
        for t in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat((x, x)), t)
            uncond, cond = unet(both, t, encoder_hidden_states=text).sample.chunk(2)
            x = scheduler.step(uncond + 3.0 * (cond - uncond), t, x, **arguments).prev_sample
    return x


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("width", "height"), [(128, 128), (88, 104)], ids=["twice", "fractional"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_sampled_points_are_a_run_at_the_training_size(
    name: str, width: int, height: int, prediction: str, monkeypatch: Any
) -> None:
    if prediction == "v_prediction" and (name != "ddim eta 1" or width != 128):
        pytest.skip("one sampler and size will do")
    unet = build("sd15")
    plan = fs.plan(unet, width, height, THROUGHOUT)
    grid, full = grid_of(plan), plan.cells
    latent, *noises = (noise(1, 4, *full, seed=100 + i) for i in range(STEPS + 1))
    small = sampled_run(unet, name, grid.sample(latent), [grid.sample(n) for n in noises], monkeypatch, prediction)
    with fs.attach(unet, plan, noise=schedule_of(prediction)) as session:
        session.progress = 0.0  # coarse throughout, also at timestep 0
        large = sampled_run(unet, name, latent, noises, monkeypatch, prediction)
    assert session.calls >= STEPS
    assert large.shape[-2:] == full
    torch.testing.assert_close(grid.sample(large), small, atol=TOLERANCE * largest(small), rtol=0)


def one_call(unet: Any, plan: fs.Plan, call: dict[str, Any], progress: Any = (0, 50), **more: Any) -> Tensor:
    with torch.no_grad(), fs.attach(unet, plan, noise=schedule_of(), **more) as session:
        session.progress = progress
        return unet(**call).sample


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_rows_may_come_in_any_order_and_in_calls_of_their_own(family: str) -> None:
    unet = build(family)
    plan = fs.plan(unet, 128, 128, fs.Settings(coarse=0.5, base=(BASE, BASE)))
    call = inputs(family, 3, 16, 16)
    together = one_call(unet, plan, call, rows=("uncond", "cond", "cond"))
    for order in ([2, 0, 1], [1]):
        apart = one_call(unet, plan, pick(call, order), rows=None)
        torch.testing.assert_close(apart, together[order], atol=1e-5, rtol=0)


def test_the_unet_is_called_at_the_smaller_size_until_the_fraction_and_not_after() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, 256, 256, fs.Settings(coarse=0.5, start=0.8, stop=1.0))
    sizes: list[int] = []
    unet.conv_in.register_forward_hook(lambda m, a, o: sizes.append(a[0].shape[-1]))
    for step in range(0, 50, 5):
        one_call(unet, plan, inputs("sd15", 2, 32, 32), (step, 50))
    # Four times the side: at the training size, then at half the picture's, then at full size.
    assert [s.size for s in plan.stages] == [(64, 64), (128, 128)]
    first, second = (round(50 * s.until) for s in plan.stages)
    assert sizes == [8 if i < first else 16 if i < second else 32 for i in range(0, 50, 5)]


def test_the_level_between_is_dilated_for_its_own_size() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, 256, 256, fs.Settings(coarse=0.5, guidance=False))
    level = plan.stages[1]
    assert (level.plan.dilation, level.plan.dilation_at((20, 50))) == (2.0, 2.0)
    call = inputs("sd15", 2, 32, 32)
    grid = SampleGrid(plan.cells, level.cells, torch.device("cpu"))
    made = one_call(unet, plan, call, (round(50 * level.until) - 1, 50))
    held = fs.plan(unet, 128, 128, fs.Settings(start=1.0, stop=1.0, guidance=False))
    small = call | {"sample": grid.sample(call["sample"])}
    torch.testing.assert_close(grid.sample(made), one_call(unet, held, small), atol=1e-4, rtol=0)


def test_progress_counts_by_timesteps_too() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, 128, 128, fs.Settings(coarse=0.5))
    sizes: list[int] = []
    unet.conv_in.register_forward_hook(lambda m, a, o: sizes.append(a[0].shape[-1]))
    for timestep in (999, 510, 490):
        one_call(unet, plan, inputs("sd15", 2, 16, 16) | {"timestep": timestep}, None)
    assert sizes == [8, 8, 16]


def test_what_has_the_pictures_size_is_sampled_with_it() -> None:
    """A ControlNet's residuals at full size; those that were made at the small size stay."""
    unet = build("sd15")
    plan = fs.plan(unet, 128, 128, fs.Settings(coarse=0.5))
    grids = {16 // k: SampleGrid((16 // k,) * 2, (8 // k,) * 2, torch.device("cpu")) for k in (1, 2, 4, 8)}
    call = inputs("sd15", 2, 16, 16)
    channels_and_sizes = (
        (8, 16),
        (8, 16),
        (8, 16),
        (8, 8),
        (8, 8),
        (8, 8),
        (8, 4),
        (16, 4),
        (16, 4),
        (16, 2),
        (16, 2),
        (16, 2),
    )
    down = [noise(2, c, s, s, seed=i) for i, (c, s) in enumerate(channels_and_sizes)]
    middle = noise(2, 16, 2, 2, seed=50)
    full = call | {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    small_down = [grids[d.shape[-1]].sample(d) for d in down]
    small = call | {
        "down_block_additional_residuals": small_down,
        "mid_block_additional_residual": grids[2].sample(middle),
    }
    one, other = one_call(unet, plan, full), one_call(unet, plan, small)
    torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert largest(one - one_call(unet, plan, call)) > 1e-3


def test_inpainting_models_see_samples_of_mask_and_picture() -> None:
    unet = build("sd15", in_channels=9)
    plan = fs.plan(unet, 128, 128, THROUGHOUT)
    call = inputs("sd15", 2, 16, 16) | {"sample": noise(2, 9, 16, 16)}
    grid = grid_of(plan)
    made = one_call(unet, plan, call)
    assert made.shape == (2, 4, 16, 16)
    with torch.no_grad():
        expected = unet(**call | {"sample": grid.sample(call["sample"])}).sample
    torch.testing.assert_close(grid.sample(made), expected, atol=TOLERANCE, rtol=0)


def test_ldm_naming_is_the_same() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, 128, 128, THROUGHOUT)
    call = inputs("sd15", 2, 16, 16)
    twin = to_ldm(unet)
    theirs = ldm_inputs(unet, call)
    assert latent_of((), theirs).shape == call["sample"].shape
    with (
        torch.no_grad(),
        fs.attach(twin, fs.plan(twin, 128, 128, THROUGHOUT.replace(base=(BASE, BASE))), noise=schedule_of()),
    ):
        made = twin(**theirs)
    torch.testing.assert_close(made, one_call(unet, plan, call), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "changes", [{"low_memory": True}, {"fast": True}, {"amp_guidance": 2.4, "start": 0.9, "stop": 1.0}]
)
def test_options_leave_the_coarse_part_as_it_is(changes: dict[str, Any]) -> None:
    unet = build("sd15")
    call = inputs("sd15", 2, 16, 16)
    plain, other = (fs.plan(unet, 128, 128, fs.Settings(coarse=0.5, **c)) for c in ({}, changes))
    torch.testing.assert_close(one_call(unet, other, call), one_call(unet, plain, call), atol=1e-6, rtol=0)
    assert torch.isfinite(one_call(unet, other, call, (30, 50))).all()


def test_nothing_is_left_also_after_an_exception_in_the_coarse_part() -> None:
    unet = build("sd15")
    before = traces(unet)
    call = inputs("sd15", 2, 16, 16)
    plan = fs.plan(unet, 128, 128, THROUGHOUT)

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    broken = unet.mid_block.register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        one_call(unet, plan, call)
    broken.remove()
    one_call(unet, plan, call)
    assert count_hooks(unet) == 0
    assert traces(unet) == before


def test_code_in_the_unets_forward_makes_every_step_full_size_and_is_said() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, 128, 128, fs.Settings(coarse=0.9, guidance=False))
    sizes: list[int] = []
    unet.conv_in.register_forward_hook(lambda m, a, o: sizes.append(a[0].shape[-1]))
    unet.forward = type(unet).forward.__get__(unet)  # as an extension that computes in the UNet's place
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        unet(**inputs("sd15", 2, 16, 16))
    assert sizes == [16]
    assert any("computes inside the UNet" in note for note in session.verdict.notes)


def test_a_schedule_that_nobody_told_is_assumed_and_said() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, 128, 128, fs.Settings(coarse=0.9))
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        unet(**inputs("sd15", 2, 16, 16))
    assert any("noise schedule" in note for note in session.verdict.notes)
    with torch.no_grad(), fs.attach(unet, plan, noise=schedule_of()) as session:
        session.progress = (0, 50)
        unet(**inputs("sd15", 2, 16, 16))
    assert session.verdict.notes == ()


def test_fast_mode_lends_nothing_to_a_stage_of_another_size() -> None:
    """The first step of each size computes its own weak rows, also where the step before had some."""
    unet = build("sd15")
    call = inputs("sd15", 2, 32, 32)
    settings = fs.Settings(coarse=0.5, start=1.0, stop=1.0)
    quick, slow = (fs.plan(unet, 256, 256, settings.replace(fast=fast)) for fast in (True, False))
    edge = round(50 * quick.stages[1].until)
    rows: list[int] = []
    unet.conv_out.register_forward_hook(lambda m, a, o: rows.append(len(o)))
    with torch.no_grad(), fs.attach(unet, quick, noise=schedule_of()) as session:
        for step in (edge - 2, edge - 1, edge, edge + 1):
            session.progress = (step, 50)
            assert torch.isfinite(unet(**call).sample).all()
    assert rows == [3, 2, 3, 2]
    rows.clear()
    with torch.no_grad(), fs.attach(unet, quick, noise=schedule_of()) as session:
        for step in (edge - 1, edge):  # the level's last step has weak rows, and so has the first at full size
            session.progress = (step, 50)
            made = unet(**call).sample
    assert rows == [3, 3]
    # In fast mode the strong rows' convolutions run on a coarser grid, so only the shape of the two is the same.
    assert made.shape == one_call(unet, slow, call, (edge, 50)).shape


def test_where_the_host_tiles_the_enlarged_latent_goes_round_the_border() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, 128, 128, THROUGHOUT)
    call = inputs("sd15", 1, 16, 16)
    for mode in ("zeros", "circular"):
        for module in unet.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.padding_mode = mode
        made = one_call(unet, plan, call, rows=None)
        clean = schedule_of().clean(call["sample"], made, torch.tensor(500))
        ways = [SampleGrid(plan.cells, plan.stages[0].cells, torch.device("cpu"), wraps) for wraps in (False, True)]
        off = [largest(way.enlarge(way.sample(clean)) - clean) for way in ways]
        right, wrong = off if mode == "zeros" else off[::-1]
        assert right < 1e-4
        assert wrong > 0.1
