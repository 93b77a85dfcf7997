"""Low memory: the same numbers from two smaller UNet calls, and no trace of either."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fouriscale as fs
from fouriscale.hooks import count_hooks
from ldm_unets import ldm_inputs, to_ldm
from unets import build, inputs, largest, run, traces

PX, LATENT = 160, 20
LOW = fs.Settings(low_memory=True)
ORDERS = [("uncond", "cond"), ("cond", "uncond"), ("cond", "cond", "uncond", "uncond"), ("cond", "uncond", "cond")]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("chunk", [1, 2])
def test_equals_the_single_call(family: str, labels: tuple[str, ...], chunk: int) -> None:
    unet = build(family)
    x = inputs(family, chunk * len(labels), LATENT, LATENT)
    one, two = (run(unet, x, fs.plan(unet, PX, PX, s), labels, (0, 50)) for s in (fs.Settings(), LOW))
    assert largest(one - two) <= 1e-5
    assert largest(one - run(unet, x)) > 1e-3


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_equals_the_single_call_on_ldm(family: str) -> None:
    original = build(family)
    unet = to_ldm(original)
    x = ldm_inputs(original, inputs(family, 2, 24, 24))  # ldm's skip connections need even sizes all the way down
    outputs = []
    for settings in (fs.Settings(), LOW):
        with fs.attach(unet, fs.plan(unet, 192, 192, settings)) as session, torch.no_grad():
            session.progress = (0, 50)
            outputs.append(unet(**x))
    assert largest(outputs[0] - outputs[1]) <= 1e-5


def test_tuples_and_amplified_guidance() -> None:
    unet = build("sd15")
    x = {**inputs("sd15", 2, LATENT, LATENT), "return_dict": False}
    outputs = []
    for low in (False, True):
        plan = fs.plan(unet, PX, PX, fs.Settings(low_memory=low, amp_guidance=2.4))
        with fs.attach(unet, plan) as session, torch.no_grad():
            session.progress = (0, 50)
            outputs.append(unet(**x)[0])
            assert session.unamplified == 0
    assert largest(outputs[0] - outputs[1]) <= 1e-5


def test_no_call_has_more_rows_than_cond_rows_and_their_weak_rows() -> None:
    unet = build("sd15")
    seen: dict[bool, list[int]] = {}
    for low in (False, True):
        seen[low] = []
        handle = unet.conv_out.register_forward_hook(lambda m, a, o, rows=seen[low]: rows.append(len(o)))
        run(unet, inputs("sd15", 4, LATENT, LATENT), fs.plan(unet, PX, PX, fs.Settings(low_memory=low)))
        handle.remove()
    assert seen == {False: [6], True: [4, 2]}


def test_each_call_has_residuals_of_its_own() -> None:
    """A WebUI's UNet pops residuals off the lists that it is given."""
    unet = build("sd15")
    x = inputs("sd15", 2, LATENT, LATENT)
    given: list[list[torch.Tensor]] = []

    def popping(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        control = kwargs.pop("control")
        given.append([control.pop() for _ in range(len(control))])
        return args, kwargs

    plan = fs.plan(unet, PX, PX, LOW)
    control = [torch.arange(2.0)[:, None], torch.arange(10.0, 12.0)[:, None]]
    with fs.attach(unet, plan) as session, torch.no_grad():
        session.progress = (0, 50)
        handle = unet.register_forward_pre_hook(popping, with_kwargs=True)  # after FouriScale's: sees what it passes on
        unet(**x, control=control)
        handle.remove()
    assert [[t.flatten().tolist() for t in call] for call in given] == [[[11.0, 11.0], [1.0, 1.0]], [[10.0], [0.0]]]
    assert len(control) == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("call", [1, 2])
def test_errors_in_either_call_leave_nothing(error: type[BaseException], call: int) -> None:
    unet = build("sd15")
    before = traces(unet)
    plain = run(unet, inputs("sd15", 2, LATENT, LATENT))
    calls = []

    def fail(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        calls.append(1)
        if len(calls) == call:
            raise error

    def attempt() -> None:
        with fs.attach(unet, fs.plan(unet, PX, PX, LOW)) as session, torch.no_grad():
            session.progress = (0, 50)
            handle = unet.mid_block.resnets[1].conv2.register_forward_pre_hook(fail)
            try:
                unet(**inputs("sd15", 2, LATENT, LATENT))
            finally:
                handle.remove()

    with pytest.raises(error):
        attempt()
    assert (len(calls), count_hooks(unet)) == (call, 0)
    assert traces(unet) == before
    assert largest(run(unet, inputs("sd15", 2, LATENT, LATENT)) - plain) == 0.0
