"""The engine against tensors of the published program, under diffusers' and under ldm's naming."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

import fouriscale as fs
import ldm_unets
from fouriscale.filters.cache import FilterCache
from fouriscale.hooks.call import Call
from fouriscale.hooks.convolution import ConvHook
from fouriscale.hooks.current import CurrentCall
from fouriscale.hooks.rows import RowMap
from fouriscale.unet.structure import Layer
from ldm_unets import ldm_inputs, to_ldm
from unets import inputs, largest, noise, run

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = {"sd15": "unet_sd_public_128x128", "sdxl": "unet_xl_public_256x256"}
# Each step takes about twenty seconds of one core; the others wait for --slow.
STEPS = [
    ("sd15", 15), ("sdxl", 27), *(pytest.param("sd15", step, marks=pytest.mark.slow) for step in (0, 29, 30))
]  # fmt: skip
TOLERANCE = 2e-5


def load(path: Path) -> dict[str, Tensor]:
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def golden_unet(family: str) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(GOLDEN / FOLDERS[family], local_files_only=True).eval()


def golden_call(family: str, step: int) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """A call with the rows uncond and cond, the expected rows by name, and what the case says about itself."""
    data = load(GOLDEN / FOLDERS[family] / "expected.npz")
    case = json.loads((GOLDEN / FOLDERS[family] / "case.json").read_text(encoding="utf-8"))
    call: dict[str, Any] = {
        "sample": data["latent"].repeat(2, 1, 1, 1),
        "timestep": 981 - 20 * step,
        "encoder_hidden_states": torch.cat([data["neg"], data["pos"]]),
    }
    if family == "sdxl":
        pooled = torch.cat([data["neg_pooled"], data["pos_pooled"]])
        call["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": data["time_ids"].repeat(2, 1)}
    return call, {name: data[f"step{step:02d}/{name}"] for name in case["rows"]}, case


# --- whole UNets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_plan_is_the_golden_runs(family: str) -> None:
    _, _, case = golden_call(family, 15 if family == "sd15" else 27)
    height, width = case["latent"]
    plan = fs.plan(golden_unet(family), 8 * width, 8 * height)
    assert plan.family == case["family"]
    assert plan.dilation == case["dilation"]
    assert (50 * plan.start, 50 * plan.stop) == (case["start_step"], case["stop_step"])
    assert list(plan.base[::-1]) == (case["base_px"] or [512, 512])


@pytest.mark.parametrize(("family", "step"), STEPS)
def test_unet_equals_the_authors_program(family: str, step: int) -> None:
    unet = golden_unet(family)
    call, expected, case = golden_call(family, step)
    height, width = case["latent"]
    out = run(unet, call, fs.plan(unet, 8 * width, 8 * height), progress=(step, 50))
    torch.testing.assert_close(out[:1], expected["uncond"], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(out[1:], expected["cond_weak"], atol=TOLERANCE, rtol=0)
    if step < 29:  # from step 29 on both filters let everything pass at this size
        assert largest(expected["cond_weak"] - expected["cond_strong"]) > 100 * TOLERANCE


@pytest.mark.slow
def test_strong_estimate_equals_the_authors_program() -> None:
    """Without guidance the cond row keeps its strong estimate, which the guidance would throw away."""
    unet = golden_unet("sd15")
    call, expected, _ = golden_call("sd15", 15)
    out = run(unet, call, fs.plan(unet, 1024, 1024, fs.Settings(guidance=False)), progress=(15, 50))
    torch.testing.assert_close(out[:1], expected["uncond"], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(out[1:], expected["cond_strong"], atol=TOLERANCE, rtol=0)


def economical_attention(
    attention: Any, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """ldm's attention without its matrix of all pairs, as WebUIs run it."""
    context = x if context is None else context
    parts = (attention.to_q(x), attention.to_k(context), attention.to_v(context))
    q, k, v = (part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in parts)
    return attention.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "step"), [("sd15", 15), ("sdxl", 27)])
def test_ldm_unet_equals_the_authors_program(family: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ldm_unets.attention.CrossAttention, "forward", economical_attention)
    unet = golden_unet(family)
    call, expected, case = golden_call(family, step)
    height, width = case["latent"]
    twin = to_ldm(unet)
    with torch.no_grad(), fs.attach(twin, fs.plan(twin, 8 * width, 8 * height)) as session:
        session.progress = (step, 50)
        out = twin(**ldm_inputs(unet, call))
    torch.testing.assert_close(out[:1], expected["uncond"], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(out[1:], expected["cond_weak"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("step", [0, 26])
def test_ldm_and_diffusers_agree_with_the_golden_weights(family: str, step: int) -> None:
    unet = golden_unet(family)
    twin = to_ldm(unet)
    call = inputs(family, 2, 24, 32) | {"encoder_hidden_states": noise(2, 7, 32)}
    if family == "sdxl":
        call["added_cond_kwargs"]["text_embeds"] = noise(2, 16)
    settings = fs.Settings(base=(128, 96), start=0.2, stop=0.6)
    theirs = ldm_inputs(unet, call)
    with torch.no_grad():
        plain = unet(**call).sample
        torch.testing.assert_close(twin(**theirs), plain, atol=1e-5, rtol=0)
        with fs.attach(twin, fs.plan(twin, 256, 192, settings)) as session:
            session.progress = (step, 50)
            ours = twin(**theirs)
    expected = run(unet, call, fs.plan(unet, 256, 192, settings), progress=(step, 50))
    torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=0)
    assert largest(expected - plain) > 100 * TOLERANCE


# --- one convolution -------------------------------------------------------------------------------------------------


def hooked_convolution(plan: fs.Plan, layer: Layer, dilation: float, weight: Tensor, bias: Tensor, stride: int) -> Any:
    """A convolution with the hooks of `layer`, in a call whose rows are uncond, cond and cond's weak row."""
    outputs, channels = weight.shape[:2]
    conv = nn.Conv2d(channels, outputs, 3, stride=stride, padding=1)
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)  # type: ignore[union-attr]
    current = CurrentCall()
    rows = RowMap(2, (1,))
    current.value = Call((0, 50), plan.method, dilation, weak=rows, host=rows)
    ConvHook(layer, current, FilterCache()).attach(conv)
    return conv.requires_grad_(False)


@pytest.mark.parametrize("case", [f"{i:02d}" for i in range(8)])
def test_sd_convolution_equals_the_authors_program(case: str) -> None:
    data = {key.removeprefix(case + "/"): value for key, value in load(GOLDEN / "conv_sd_public.npz").items()}
    height, width, base_h, base_w, dilation, stride, filtered = data["params"].tolist()
    factor, level = 32, 2  # the layer is at a quarter of the latent
    plan = fs.plan_family("sd15", 1024, 1024)
    frame = dataclasses.replace(
        plan.method.frame, size=(int(factor * width), int(factor * height)),
        base=(int(factor * base_w), int(factor * base_h)), scale=int(max(-(-height // base_h), -(-width // base_w))),
    )  # fmt: skip
    plan = dataclasses.replace(plan, method=dataclasses.replace(plan.method, frame=frame))
    role = "upsampler" if not filtered else "downsampler" if stride == 2 else "resnet"
    conv = hooked_convolution(plan, Layer("", "", role, level), dilation, data["weight"], data["bias"], int(stride))  # type: ignore[arg-type]
    torch.testing.assert_close(conv(data["x"]), data["y"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", [f"{i:02d}" for i in range(5)])
def test_sdxl_convolution_equals_the_authors_program(case: str) -> None:
    data = {key.removeprefix(case + "/"): value for key, value in load(GOLDEN / "conv_xl_public.npz").items()}
    _, _, height, width, base_h, base_w, dilation, filtered, stopband = data["params"].tolist()
    plan = fs.plan_family("sdxl", int(width), int(height))
    assert plan.base == (base_w, base_h)
    assert plan.method.stopbands == (stopband, stopband)
    layer = Layer("", "", "resnet" if filtered else "upsampler", 2)
    conv = hooked_convolution(plan, layer, dilation, data["weight"], data["bias"], 1)
    torch.testing.assert_close(conv(data["x"]), data["y"], atol=1e-5, rtol=0)
