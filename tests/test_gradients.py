"""Autograd through an attached UNet: it runs as loaded, and the gradients are those of the naive implementation."""

from __future__ import annotations

import pytest
import torch

import fouriscale as fs
from fouriscale.lab import naive
from unets import BASE, build, inputs, largest, pick, run, traces

PX = 2 * BASE * 2  # maps large enough that the filters of all levels do something
STEP = (10, 50)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_gradients_of_the_latent_and_the_text_are_those_of_the_naive_implementation(family: str) -> None:
    unet = build(family).requires_grad_(True)
    base = (BASE, BASE)
    plan = fs.plan(unet, PX, PX, fs.Settings(base=base))
    call = inputs(family, 2, PX // 8, PX // 8)
    leaves = [call["sample"].requires_grad_(), call["encoder_hidden_states"].requires_grad_()]
    with fs.attach(unet, plan) as session:
        session.progress = STEP
        ours = unet(**call).sample
        weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(7))
        gradients = torch.autograd.grad((ours * weights).sum(), leaves)

    tripled = pick(call, [0, 1, 1])
    start, stop = round(50 * plan.start), round(50 * plan.stop)
    slow = naive.unet_rows.__wrapped__(  # type: ignore[attr-defined]
        unet, tripled["sample"], tripled["timestep"], tripled["encoder_hidden_states"], family=family,
        latent_hw=(PX // 8, PX // 8), base_px=base, D=plan.dilation, i=STEP[0], start=start, stop=stop,
        added_cond_kwargs=tripled.get("added_cond_kwargs"),
    )  # fmt: skip
    torch.testing.assert_close(ours, slow[[0, 2]], atol=2e-5, rtol=0)
    expected = torch.autograd.grad((slow[[0, 2]] * weights).sum(), leaves)
    for found, wanted in zip(gradients, expected, strict=True):
        assert largest(wanted) > 1e-2
        torch.testing.assert_close(found, wanted, atol=1e-4 * largest(wanted), rtol=0)


@pytest.mark.parametrize(
    "changes", [{"fast": True}, {"low_memory": True}, {"rounding": "exact"}, {"method": "scalecrafter"}]
)
def test_gradients_of_the_weights_are_their_difference_quotients(changes: dict[str, object]) -> None:
    px = (PX, PX - 64 if "rounding" in changes else PX)
    unet = build("sd15").double().requires_grad_(True)
    plan = fs.plan(unet, *px, fs.Settings(**changes))  # type: ignore[arg-type]
    call = {
        name: v.double() if isinstance(v, torch.Tensor) else v
        for name, v in inputs("sd15", 2, px[1] // 8, px[0] // 8).items()
    }
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(call["sample"].shape, generator=generator, dtype=torch.float64)
    parameters = [p for name, p in unet.named_parameters() if "conv" in name]
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) * p.detach().std() for p in parameters]

    def value() -> torch.Tensor:
        with fs.attach(unet, plan) as session:
            session.progress = STEP
            return (unet(**call).sample * weights).sum()

    slope = sum((g * v).sum() for g, v in zip(torch.autograd.grad(value(), parameters), direction, strict=True))
    ends = []
    for step in (1e-3, -2e-3):
        with torch.no_grad():
            for parameter, v in zip(parameters, direction, strict=True):
                parameter += step * v
            ends.append(value())
    quotient = (ends[0] - ends[1]) / 2e-3
    assert abs(slope - quotient) < 1e-2 * abs(quotient)


def test_gradient_checkpointing_is_refused_where_gradients_are_recorded() -> None:
    unet = build("sd15").requires_grad_(True)
    plan = fs.plan(unet, 2 * BASE, 2 * BASE)
    call = inputs("sd15", 2, 16, 16)
    expected = run(unet, call, plan)
    unet.enable_gradient_checkpointing()
    unet.train()
    before = traces(unet)
    with fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        with pytest.raises(fs.UnsupportedModelError, match="disable_gradient_checkpointing"):
            unet(**call)
    assert traces(unet) == before
    torch.testing.assert_close(run(unet, call, plan), expected)  # without gradients nothing is computed again
