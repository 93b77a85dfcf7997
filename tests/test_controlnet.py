"""A ControlNet beside FouriScale: its residuals reach every row, its own convolutions can be dilated, nothing stays."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, DDIMScheduler, MultiControlNetModel
from PIL import Image
from torch import Tensor

import fouriscale as fs
import tiny_pipelines
import unets
from fouriscale.cli import main
from fouriscale.hooks import count_hooks
from fouriscale.hosts.diffusers.addons import with_controlnet
from fouriscale.hosts.diffusers.on_pipeline import control_plan
from fouriscale.hosts.diffusers.pipeline import load_pipeline
from fouriscale.hosts.diffusers.sampling import Control, Request, sample, sample_latents
from fouriscale.lab import naive

LARGE = 3 * tiny_pipelines.BASE
FAMILIES = ("sd15", "sdxl")


def new_controlnet(unet: Any, seed: int = 0) -> ControlNetModel:
    """A copy of the UNet's down and mid blocks with random numbers where training starts from zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        controlnet = ControlNetModel.from_unet(unet, conditioning_channels=3)
        for conv in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:
            torch.nn.init.normal_(conv.weight, std=0.3)
        torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=1.0)
    return controlnet.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    found = {}
    for family in FAMILIES:
        found[family] = tiny_models[family]
        found[family + " control"] = root / (family + "-control")
        new_controlnet(load_pipeline(found[family]).unet).save_pretrained(found[family + " control"])
    return found


def controlled(models: dict[str, Path], family: str) -> Any:
    return with_controlnet(load_pipeline(models[family]), str(models[family + " control"]))


def picture(seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (LARGE, LARGE, 3), dtype=np.uint8))


def make(pipe: Any, settings: fs.Settings | None, control: Control | None = None, **changes: Any) -> Tensor:
    values: dict[str, Any] = {"steps": 2, "cfg": 5.0, "control": control, **changes}
    return sample_latents(pipe, Request("a cat", LARGE, LARGE, 3, settings, **values), [3])[0]


def estimate(controlnet: Any, call: dict[str, Any], hint: Tensor) -> dict[str, Any]:
    """The residuals, as the UNet takes them."""
    kwargs = {k: v for k, v in call.items() if k not in ("sample", "timestep")}
    with torch.no_grad():
        down, mid = controlnet(call["sample"], call["timestep"], controlnet_cond=hint, return_dict=False, **kwargs)
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (20, 22)])
def test_residuals_follow_their_rows(family: str, low_memory: bool, size: tuple[int, int]) -> None:
    """Against a naive computation in which all three rows are given the residuals of their own row."""
    unet = unets.build(family, seed=3)
    call = unets.inputs(family, 2, *size)
    hint = unets.noise(2, 3, 8 * size[0], 8 * size[1], seed=8)  # each row its own, so that a mix-up would show
    residuals = estimate(new_controlnet(unet), call, hint)
    plan = fs.plan(unet, 8 * size[1], 8 * size[0], fs.Settings(base=(64, 64), low_memory=low_memory))
    result = unets.run(unet, call | residuals, plan, progress=(15, 50))
    three = unets.pick(call, [0, 1, 1])
    down = tuple(x[[0, 1, 1]] for x in residuals["down_block_additional_residuals"])
    arguments: dict[str, Any] = {
        "family": family, "latent_hw": size, "base_px": (64, 64), "D": plan.dilation, "i": 15,
        "start": round(50 * plan.start), "stop": round(50 * plan.stop),
        "added_cond_kwargs": three.get("added_cond_kwargs"),
    }  # fmt: skip
    expected = naive.unet_rows(
        unet, three["sample"], three["timestep"], three["encoder_hidden_states"], **arguments,
        down_block_additional_residuals=down,
        mid_block_additional_residual=residuals["mid_block_additional_residual"][[0, 1, 1]],
    )  # fmt: skip
    torch.testing.assert_close(result, expected[[0, 2]], atol=1e-4, rtol=0)
    assert unets.largest(result - unets.run(unet, call, plan, progress=(15, 50))) > 1e-2
    swapped = call | estimate(new_controlnet(unet), call, hint.flip(0))
    assert unets.largest(result - unets.run(unet, swapped, plan, progress=(15, 50))) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hooked_controlnet_dilates_what_the_unet_dilates(family: str) -> None:
    """Against the ControlNet with every convolution of the list replaced by the naive low-pass and dilation."""
    unet = unets.build(family, seed=3)
    controlnet = new_controlnet(unet)
    call = unets.inputs(family, 2, 16, 16)
    hint = unets.noise(2, 3, 128, 128, seed=8)
    plan = control_plan(fs.plan(unet, 128, 128), controlnet)
    everything = naive.hooked_layers(family)
    chosen = {name: value for name, value in everything.items() if not name.startswith("up_blocks")}
    assert {layer.name for layer in plan.layers} == set(chosen)
    assert len(chosen) == {"sd15": 13, "sdxl": 8}[family]
    before = unets.traces(controlnet)
    with fs.attach(controlnet, plan, rows=None) as session:
        session.progress = (0, 50)
        hooked = estimate(controlnet, call, hint)
    assert unets.traces(controlnet) == before
    plain = estimate(controlnet, call, hint)

    slow = new_controlnet(unet)
    for name, (downsampling, filtered) in chosen.items():
        conv = slow.get_submodule(name)
        conv.forward = _naive(conv, family, downsampling, filtered)  # type: ignore[assignment]
    expected = estimate(slow, call, hint)
    mid = "mid_block_additional_residual"
    torch.testing.assert_close(hooked[mid], expected[mid], atol=1e-4, rtol=0)
    assert unets.largest(hooked[mid] - plain[mid]) > 1e-2
    for mine, other in zip(*(x["down_block_additional_residuals"] for x in (hooked, expected)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)


class Both(SimpleNamespace):
    """As much of a pipeline as is looked at."""

    do_classifier_free_guidance = True


def test_every_net_of_several_is_dilated() -> None:
    """Of two ControlNets each is hooked like one alone, and nothing is left on either."""
    unet = unets.build("sd15", seed=3)
    nets = [new_controlnet(unet, seed) for seed in (0, 1)]
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(50)
    pipe = Both(unet=unet, controlnet=MultiControlNetModel(nets), scheduler=scheduler, vae_scale_factor=8)
    call, hint = unets.inputs("sd15", 2, 16, 16), unets.noise(2, 3, 128, 128, seed=8)
    mid = "mid_block_additional_residual"
    alone = []
    for net in nets:
        with fs.attach(net, control_plan(fs.plan(unet, 128, 128), net), rows=None) as session:
            session.progress = (0, 50)
            alone.append(estimate(net, call, hint)[mid])
    plain = [estimate(net, call, hint)[mid] for net in nets]
    before = [unets.traces(net) for net in nets]
    with fs.on_pipeline(pipe, 128, 128, fs.Settings()):
        for net, expected, undilated in zip(nets, alone, plain, strict=True):
            assert torch.equal(estimate(net, call, hint)[mid], expected)
            assert unets.largest(expected - undilated) > 1e-3
    assert [unets.traces(net) for net in nets] == before


def test_a_compiled_controlnet_is_refused() -> None:
    controlnet = torch.compile(new_controlnet(unets.build("sd15")))
    with pytest.raises(fs.UnsupportedModelError, match=r"is compiled by torch\.compile"):
        control_plan(fs.plan(unets.build("sd15"), 128, 128), controlnet)


def _naive(conv: Any, family: str, downsampling: int, filtered: bool) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        k = 8 * downsampling
        s = max(2 / conv.stride[0], 1)
        if filtered and s > 1:
            x = naive.lowpass(x, 64 / k, 64 / k, s, naive.STOP_BAND[family], "strong")
        return F.conv2d(x, conv.weight, conv.bias, stride=conv.stride, padding=2, dilation=2)

    return forward


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_follow_the_control(models: dict[str, Path], family: str) -> None:
    pipe, bare = controlled(models, family), load_pipeline(models[family])
    for settings in (None, fs.Settings()):
        without = make(bare, settings)
        zero = make(pipe, settings, Control(picture(), 0.0))
        torch.testing.assert_close(zero, without, atol=1e-4, rtol=0)
        one, other = (make(pipe, settings, Control(picture(n))) for n in (0, 1))
        assert unets.largest(one - without) > 1e-2
        assert unets.largest(one - other) > 1e-3
    assert unets.largest(make(pipe, None, Control(picture())) - make(pipe, fs.Settings(), Control(picture()))) > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_left_on_unet_or_controlnet(models: dict[str, Path], family: str) -> None:
    pipe = controlled(models, family)
    before = unets.traces(pipe.unet), unets.traces(pipe.controlnet)
    with fs.on_pipeline(pipe, LARGE, LARGE, fs.Settings()) as session:
        assert count_hooks(pipe.unet) > 2 * len(session.plan.layers)
        assert count_hooks(pipe.controlnet) > 0
    assert (unets.traces(pipe.unet), unets.traces(pipe.controlnet)) == before

    def give_up(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = pipe.controlnet.mid_block.resnets[0].conv1.register_forward_hook(give_up)
    with pytest.raises(KeyboardInterrupt):
        make(pipe, fs.Settings(), Control(picture()))
    handle.remove()
    assert (unets.traces(pipe.unet), unets.traces(pipe.controlnet)) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_coarse_start_of_both(models: dict[str, Path], family: str) -> None:
    """The ControlNet works at the UNet's small size, and what it says still steers the picture."""
    pipe = controlled(models, family)
    sizes: list[tuple[int, ...]] = []
    mid = "mid_block_additional_residual"
    handles = [
        pipe.controlnet.conv_in.register_forward_hook(lambda m, a, x: sizes.append(tuple(x.shape[-2:]))),
        pipe.unet.mid_block.register_forward_hook(lambda m, a, x: sizes.append(tuple(x.shape[-2:]))),
        pipe.unet.register_forward_pre_hook(lambda m, a, k: sizes.append(tuple(k[mid].shape[-2:])), with_kwargs=True),
    ]
    settings = fs.Settings(coarse=0.5)
    one, other = (make(pipe, settings, Control(picture(n)), steps=4) for n in (0, 1))
    for handle in handles:
        handle.remove()
    deep = 1 if family == "sd15" else 2  # of 8 cells, by the UNet's depth
    # by step: the ControlNet's latent, the residual that it hands over, the UNet's deepest map
    small, large = [(8, 8), (deep, deep), (deep, deep)], [(24, 24), (3 * deep, 3 * deep), (3 * deep, 3 * deep)]
    assert sizes == [*small * 2, *large * 2] * 2
    assert torch.isfinite(one).all()
    assert unets.largest(one - other) > 1e-3
    assert unets.largest(one - make(pipe, None, Control(picture()), steps=4)) > 1e-2
    assert count_hooks(pipe.unet) == count_hooks(pipe.controlnet) == 0


def test_the_controlnet_of_a_batch(models: dict[str, Path]) -> None:
    pipe = controlled(models, "sd15")
    request = Request("a cat", LARGE, LARGE, 0, fs.Settings(), steps=2, control=Control(picture()))
    batch = sample_latents(pipe, request, [3, 8])[0]
    for row, seed in zip(batch.split(1), (3, 8), strict=True):
        torch.testing.assert_close(row, sample_latents(pipe, request, [seed])[0], atol=1e-3, rtol=0)


def test_a_picture_of_another_size_is_stretched(models: dict[str, Path]) -> None:
    pipe = controlled(models, "sd15")
    flat = Image.new("RGB", (40, 24), (200, 30, 90))
    request = Request("a cat", LARGE, LARGE, 3, fs.Settings(), steps=1)
    small, large = (
        sample(pipe, Request(**{**vars(request), "control": Control(image, 0.5, "net", "edges.png")}))
        for image in (flat, flat.resize((LARGE, LARGE)))
    )
    torch.testing.assert_close(small.latents, large.latents, atol=1e-4, rtol=0)
    assert '"Module: none, Model: net, Weight: 0.5, Image: edges.png"' in small.parameters


def test_a_controlnet_from_the_command_line(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    picture().save("edges.png")

    def run(family: str, control: Path, out: str, scale: float = 1.0) -> tuple[Any, str]:
        size = ("--width", LARGE, "--height", LARGE, "--steps", 2)
        added = ("--controlnet", control, "--control-image", "edges.png", "--control-scale", scale)
        args = ["fouriscale", "generate", "--model", models[family], "--prompt", "a cat", *size, "--out", out, *added]
        monkeypatch.setattr(sys, "argv", [str(a) for a in args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().err

    pixels = {}
    for family in FAMILIES:
        for scale in (0.0, 1.0):
            assert run(family, models[family + " control"], f"{family}{scale}", scale) == (0, "")
            with Image.open(tmp_path / f"{family}{scale}" / "00001-0-a-cat.png") as image:
                pixels[family, scale] = np.asarray(image).astype(float)
        assert np.abs(pixels[family, 0.0] - pixels[family, 1.0]).mean() > 0.5
    code, err = run("sd15", models["sdxl control"], "none")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "was made for another model: its block_out_channels is" in err
    assert math.isfinite(pixels["sd15", 1.0].mean())
