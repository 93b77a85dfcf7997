"""What is said of a run is what happened in its UNet calls: where no hook ran, or none could, nothing is claimed."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fouriscale as fs
from fouriscale.filters.freeu import FreeU
from fouriscale.hooks import count_hooks
from fouriscale.hooks.outcome import COMPILED, UNREACHED
from fouriscale.hosts.diffusers.attention import DiffusersCalls
from unets import build, inputs, largest, run
from webui_standin import SIZES, Host

PX, LATENT = 160, 20
STEPS = (0, 15, 24, 45)  # full dilation, annealing twice, plain
TOLERANCE = 1e-5


def elsewhere(unet: nn.Module) -> None:
    """Let `unet` compute as compiled code does: its own hooks run, those of the modules inside do not."""
    unet.forward = copy.deepcopy(unet).forward  # type: ignore[method-assign]


def steps(unet: Any, call: dict[str, Any], plan: fs.Plan, **more: Any) -> tuple[list[Tensor], fs.Session]:
    with torch.no_grad(), fs.attach(unet, plan, **more) as session:
        outputs = []
        for step in STEPS:
            session.progress = (step, 50)
            outputs.append(unet(**call).sample)
    return outputs, session


# --- hooks that do not run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"amp_guidance": 2.4}, {"low_memory": True}, {"method": "scalecrafter"}, {"method": "attn-entropy"}]
)
def test_calls_in_which_no_hook_ran_are_plain_and_do_not_count(settings: dict[str, Any]) -> None:
    unet = build("sd15")
    plan = fs.plan(unet, PX, PX, fs.Settings(**settings))
    call = inputs("sd15", 2, LATENT, LATENT)
    plain = run(unet, call)
    elsewhere(unet)
    outputs, session = steps(unet, call, plan)
    assert all(largest(output - plain) <= TOLERANCE for output in outputs)
    due = sum(plan.method.dilation_at((step, 50)) is not None for step in STEPS)
    assert (session.calls, session.outcome.unreached, session.outcome.beyond) == (0, due, len(STEPS) - due)
    assert session.verdict.sentence == f"had no effect, because {UNREACHED}"


def test_an_effect_in_part_is_said() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, PX, PX)
    call = inputs("sd15", 2, LATENT, LATENT)
    elsewhere(unet.mid_block)
    _, session = steps(unet, call, plan)
    whole = len(plan.layers)
    assert (session.calls, session.outcome.partly, session.verdict.worked) == (3, 3, True)
    (note,) = session.verdict.notes
    assert note.startswith(f"had part of its effect in 3 of 4 UNet calls: only {whole - 4} of {whole} convolutions")


@pytest.mark.parametrize("forge", [False, True])
def test_a_webui_picture_without_effect_says_so(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    _, (plain,) = host.request(False)
    host.unet.forward = copy.deepcopy(host.unet).forward  # type: ignore[method-assign]
    p, (picture,) = host.request(True)
    assert largest(picture - plain) <= TOLERANCE
    assert list(p.comments) == [f"FouriScale had no effect, because {UNREACHED}"]
    assert p.extra_generation_params == {"FouriScale had no effect": UNREACHED}
    last = host.module.REPORT.last
    assert (last["active"], last["reason"], last["unet_calls"]) == (False, UNREACHED, 0)
    assert last["calls"]["unreached"] == 2
    assert (host.errors, count_hooks(host.unet)) == ([], 0)


# --- torch.compile ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("in_place", [False, True])
def test_compiled_blocks_with_convolutions_are_refused(in_place: bool) -> None:
    unet: Any = build("sd15")
    if in_place:
        unet.down_blocks[2].resnets[0].compile()
    else:
        unet.down_blocks[2].resnets[0] = torch.compile(unet.down_blocks[2].resnets[0])
    with pytest.raises(fs.UnsupportedModelError, match=r"^down_blocks.2.resnets.0 is compiled by torch.compile, which"):
        fs.plan(unet, PX, PX)


@pytest.mark.slow
def test_repeated_blocks_may_be_compiled_and_called_before(fresh_compiler: Any) -> None:
    """Against the same UNet uncompiled, at every strength of the method."""
    unet = build("sd15", layers_per_block=1)
    plan = fs.plan(unet, PX, PX)
    call = inputs("sd15", 2, LATENT, LATENT)
    expected, _ = steps(unet, call, plan)
    unet.compile_repeated_blocks(backend="eager")
    run(unet, call)
    outputs, session = steps(unet, call, fs.plan(unet, PX, PX), adapter=DiffusersCalls())
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, wanted, atol=TOLERANCE, rtol=0)
    assert (session.calls, session.verdict.notes) == (3, ())


class Small(nn.Module):
    """As little of a UNet as a session takes, as compiling a whole one takes a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, sample: Tensor, timestep: int) -> Tensor:
        return self.conv(sample)


@pytest.mark.parametrize("when", ["before", "called before", "while attached"])
def test_a_unet_that_is_compiled_behind_the_session_stays_plain_and_says_so(fresh_compiler: Any, when: str) -> None:
    full = fs.plan(build("sd15"), PX, PX)
    layer = dataclasses.replace(full.layers[0], path="conv", level=0)
    method = dataclasses.replace(full.method, layers=(layer,))
    plan = dataclasses.replace(full, method=method, shared=(), attention=(), freeu=None, up_resnets=())
    torch.manual_seed(0)
    unet = Small().requires_grad_(False)
    x = torch.randn(2, 4, LATENT, LATENT)
    plain = unet(x, 500)
    compiled = torch.compile(unet, backend="eager")
    if when == "called before":
        compiled(x, 500)
    with fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        if when == "while attached":
            compiled = torch.compile(unet, backend="eager")
        else:
            assert largest(unet(x, 500) - plain) > 100 * TOLERANCE  # the original itself works
            assert session.calls == 1
        session.outcome.at_work = 0
        for step in STEPS:
            session.progress = (step, 50)
            assert torch.equal(compiled(x, 500), plain)
    assert (session.calls, session.outcome.compiled) == (0, len(STEPS))
    assert session.verdict.sentence == f"had no effect, because {COMPILED}"
    assert (count_hooks(unet), unet.conv.dilation) == (0, (1, 1))


@pytest.mark.parametrize("way", ["config", "object patch"])
def test_hosts_that_compile_inside_the_call_are_refused(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    host = Host(monkeypatch, forge=True)
    patcher = host.main_model.original.unet
    if way == "config":
        patcher.model._torch_compile_config = "dynamic"
    else:
        patcher.object_patches = {"diffusion_model": torch.compile(host.unet)}
    p, _ = host.request(True)
    said = "the host compiles the UNet with torch.compile, which ignores hooks; switch it off"
    assert list(p.comments) == [f"FouriScale skipped: {said}"]
    assert p.extra_generation_params == {}
    assert count_hooks(host.unet) == 0


# --- calls of another size -------------------------------------------------------------------------------------------


@pytest.fixture
def freeu_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FreeU, "factors", lambda self, backbone: (self.b1, self.s1))


@pytest.mark.usefixtures("freeu_everywhere")
@pytest.mark.filterwarnings("ignore:FouriScale was planned")
def test_freeu_acts_in_every_call_of_the_planned_size_and_in_no_other() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, PX, PX, fs.Settings(freeu=(1.3, 1.3, 0.5, 0.5)))
    call, tile = inputs("sd15", 2, LATENT, LATENT), inputs("sd15", 2, LATENT // 2, LATENT)
    plain, plain_tile = run(unet, call), run(unet, tile)
    outputs, _ = steps(unet, call, plan)
    assert all(largest(output - plain) > 1e-3 for output in outputs)
    outputs, session = steps(unet, tile, plan)
    assert all(torch.equal(output, plain_tile) for output in outputs)
    assert (session.calls, session.outcome.other_size, session.outcome.beyond) == (0, 3, 1)
    assert session.verdict.prevented


@pytest.mark.filterwarnings("ignore:FouriScale was planned")
def test_single_calls_of_another_size_are_noted() -> None:
    unet = build("sd15")
    with torch.no_grad(), fs.attach(unet, fs.plan(unet, PX, PX)) as session:
        session.progress = (0, 50)
        unet(**inputs("sd15", 2, LATENT, LATENT))
        unet(**inputs("sd15", 2, LATENT, LATENT // 2))
    said = "left 1 of 2 UNet calls plain, because they had another size than planned (80×160 instead of 160×160 pixels)"
    assert session.verdict.notes == (said,)


@pytest.mark.filterwarnings("ignore:FouriScale was planned")
def test_a_call_of_another_size_keeps_its_size_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, "sdxl")
    seen: list[Tensor] = []
    width = SIZES["sdxl"][1]
    vector = torch.randn(1, 2816, generator=torch.Generator().manual_seed(3))

    def half(denoiser: Any, x: Tensor, timesteps: Tensor, cond: Any) -> None:
        host.unet(x[..., : width // 2], timesteps, context=cond[0], y=vector)

    host.after_unet = half
    hook = host.unet.label_emb.register_forward_pre_hook(lambda module, args: seen.append(args[0]))  # type: ignore
    host.request(True)
    hook.remove()
    assert [torch.equal(y, vector) for y in seen if len(y) == 1] == [True] * 3
