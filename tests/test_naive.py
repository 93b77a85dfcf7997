"""The oracle against tensors of the published program and against figures that can be checked by hand.

The whole-UNet golden cases take over half a minute each and are marked `slow`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fouriscale.lab import naive

GOLDEN = Path(__file__).parent / "golden"
CONV_FILES = {"sd15": "conv_sd_public.npz", "sdxl": "conv_xl_public.npz"}
UNETS = {"sd15": "unet_sd_public_128x128", "sdxl": "unet_xl_public_256x256"}
UNET_STEPS = {"sd15": [0, 15, 29, 30], "sdxl": [27]}
CONV_CASES = [("sd15", f"{case:02d}") for case in range(8)] + [("sdxl", f"{case:02d}") for case in range(5)]
UNET_CASES = [(family, step) for family, steps in UNET_STEPS.items() for step in steps]


def load_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def load_unet(family: str) -> torch.nn.Module:
    diffusers = pytest.importorskip("diffusers")
    return diffusers.UNet2DConditionModel.from_pretrained(GOLDEN / UNETS[family], local_files_only=True).eval()


def three_rows(data: dict[str, Tensor], family: str) -> tuple[Tensor, Tensor, dict[str, Tensor] | None]:
    """The inputs of a UNet case as the rows [uncond, cond_strong, cond_weak]."""
    sample = data["latent"].repeat(3, 1, 1, 1)
    context = torch.cat([data["neg"], data["pos"], data["pos"]])
    if family != "sdxl":
        return sample, context, None
    pooled = torch.cat([data["neg_pooled"], data["pos_pooled"], data["pos_pooled"]])
    return sample, context, {"text_embeds": pooled, "time_ids": data["time_ids"].repeat(3, 1)}


# --- the mask --------------------------------------------------------------------------------------------------------


def test_axis_mask_known_ends() -> None:
    strong = naive.axis_mask(64, 2, 0.0, "strong")[32:]
    assert (strong[:18] == 1).all()
    assert (strong[18:25] < 1).all()
    assert (strong[18:25] > 0).all()
    assert (strong[25:] == 0).all()
    weak = naive.axis_mask(64, 2, 0.0, "weak")[32:]
    assert (weak[:18] == 1).all()
    assert (weak[18:] < 1).all()
    assert (weak > 0).all()


@pytest.mark.parametrize(("s", "strong", "weak"), [(2, 0.451, 0.632), (4, 0.178, 0.450), (1.2, 0.944, 0.910)])
def test_mask_mean_gain(s: float, strong: float, weak: float) -> None:
    assert naive.mask2d(64, 64, s, 0.0, "strong").mean().item() == pytest.approx(strong, abs=5e-4)
    assert naive.mask2d(64, 64, s, 0.0, "weak").mean().item() == pytest.approx(weak, abs=5e-4)


@pytest.mark.parametrize("N", [16, 32, 64, 128])
@pytest.mark.parametrize("kind", ["strong", "weak"])
def test_mask_is_identity_up_to_a_scale(N: int, kind: str) -> None:
    s = (N // 2) / (N // 2 - 2)
    assert (naive.axis_mask(N, s - 1e-9, 0.0, kind) == 1).all()
    assert (naive.axis_mask(N, s + 1e-2, 0.0, kind) < 1).any()


@pytest.mark.parametrize("N", [2, 8, 16, 18, 64, 66])
@pytest.mark.parametrize("kind", ["strong", "weak"])
@pytest.mark.parametrize("v", [0.0, 0.6])
def test_axis_mask_shape(N: int, kind: str, v: float) -> None:
    for s in (1.0, 1.5, 2.0, 4.0):
        mask = naive.axis_mask(N, s, v, kind)
        assert len(mask) == N
        assert torch.equal(mask, mask.flip(0))
        assert mask.min() >= v
        assert mask.max() == 1
        assert mask[N // 2] == 1  # the zero frequency, in fftshift order
        assert s > 1 or (mask == 1).all()


def test_odd_sizes_are_rounded_up_to_even() -> None:
    assert naive.padded_size(9, 15, 4.5, 7.5) == (10, 16)  # 2 * 4.5 and 2 * 7.5 truncate to the feature's own 9 and 15
    assert naive.padded_size(15, 9, 7.5, 7) == (16, 14)
    with pytest.raises(ValueError, match="even number of samples, not for 65"):
        naive.axis_mask(65, 2.0, 0.0, "strong")


# --- the filter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("h", "w", "base_h", "base_w"), [(16, 16, 8, 8), (12, 20, 8, 8), (9, 15, 4.5, 7.5), (15, 9, 7.5, 7)]
)
@pytest.mark.parametrize("kind", ["strong", "weak"])
def test_lowpass_is_the_even_part_of_the_mask(h: int, w: int, base_h: float, base_w: float, kind: str) -> None:
    x = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(0))
    N_h, N_w = naive.padded_size(h, w, base_h, base_w)
    mask = torch.fft.ifftshift(naive.mask2d(N_h, N_w, 2.0, 0.0, kind))
    mirrored = mask.flip(0, 1).roll((1, 1), (0, 1))
    even = ((mask + mirrored) / 2)[:, : N_w // 2 + 1].float()
    padded = F.pad(x, (0, N_w - w, 0, N_h - h))
    expected = torch.fft.irfft2(torch.fft.rfft2(padded) * even, s=(N_h, N_w))[..., :h, :w]
    torch.testing.assert_close(naive.lowpass(x, base_h, base_w, 2.0, 0.0, kind), expected, atol=1e-5, rtol=0)


def test_lowpass_keeps_constants_and_dtype() -> None:
    x = torch.full((1, 1, 16, 16), 3.0, dtype=torch.float16)
    y = naive.lowpass(x, 8, 8, 2.0, 0.0, "strong")
    assert y.dtype == torch.float16
    torch.testing.assert_close(y, x, atol=2e-3, rtol=0)


# --- the schedule and the sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("D", "start", "stop", "divisor", "expected"),
    [
        (2, 20, 35, 1.5, [(2, 2, 28), (2, 1, 7), (1, 1, 15)]),
        (3, 20, 35, 1.5, [(3, 2, 28), (2, 2, 4), (2, 1, 3), (1, 1, 15)]),
        (4, 20, 35, 1.5, [(4, 3, 25), (3, 2, 5), (2, 2, 3), (2, 1, 2), (1, 1, 15)]),
        (2, 10, 30, 1.0, [(2, 2, 30), (1, 1, 20)]),
        (3, 10, 30, 1.0, [(3, 3, 20), (2, 2, 10), (1, 1, 20)]),
        (4, 20, 35, 1.0, [(4, 4, 25), (3, 3, 5), (2, 2, 5), (1, 1, 15)]),
    ],
)
def test_dilation_by_step(D: int, start: int, stop: int, divisor: float, expected: list[tuple[int, ...]]) -> None:
    dilations = [naive.dilation_at(D, i, start, stop) for i in range(50)]
    pairs = [(math.ceil(d), math.ceil(max(d / divisor, 1))) for d in dilations]
    assert pairs == [pair[:2] for pair in expected for _ in range(pair[2])]
    assert all(d == 1.0 for d in dilations[stop:])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2048, 2048), (1024, 1024, 2)),
        ((4096, 4096), (1024, 1024, 4)),
        ((2560, 2560), (896, 1088, 3)),
        ((2048, 4096), (704, 1408, 3)),
        ((1536, 1536), (832, 1152, 2)),
        ((1440, 2560), (768, 1280, 2)),
        ((1080, 1920), (832, 1152, 2)),
    ],
)
def test_sdxl_base(size: tuple[int, int], expected: tuple[int, int, int]) -> None:
    assert len(naive.BUCKETS) == 40
    assert naive.sdxl_base(*size) == expected


def test_sd_dilation() -> None:
    assert naive.sd_dilation(128, 128) == 2
    assert naive.sd_dilation(160, 160) == 3
    assert naive.sd_dilation(128, 256) == 4
    assert naive.sd_dilation(96, 96, (768, 768)) == 1


# --- convolutions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "case"), CONV_CASES)
def test_conv_matches_golden(family: str, case: str) -> None:
    data = load_npz(GOLDEN / CONV_FILES[family])
    params = data[f"{case}/params"].tolist()
    if family == "sd15":
        _, _, base_h, base_w, d, stride, filtered = params
        v = naive.STOP_BAND[family]
    else:
        h, _, H_px, _, base_h, base_w, d, filtered, v = params
        stride, k = 1, H_px / h
        base_h, base_w = base_h / k, base_w / k
    y = naive.conv_rows(
        data[f"{case}/x"], data[f"{case}/weight"], data[f"{case}/bias"], stride=int(stride), d=d, base_h=base_h,
        base_w=base_w, filtered=bool(filtered), v=v, weak_divisor=naive.WEAK_DIVISOR[family],
    )  # fmt: skip
    torch.testing.assert_close(y, data[f"{case}/y"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("d", [2, 3])
def test_dilated_conv_is_a_plain_conv_on_each_phase(d: int) -> None:
    generator = torch.Generator().manual_seed(d)
    x = torch.randn(3, 4, 4 * d, 6 * d, generator=generator)
    weight = torch.randn(5, 4, 3, 3, generator=generator)
    y = naive.conv_rows(
        x, weight, None, stride=1, d=d, base_h=4, base_w=6, filtered=False, v=0.0, weak_divisor=1.0
    )  # fmt: skip
    for a in range(d):
        for b in range(d):
            expected = F.conv2d(x[..., a::d, b::d], weight, padding=1)
            torch.testing.assert_close(y[..., a::d, b::d], expected, atol=1e-4, rtol=0)


def test_downsampler_with_d_two_is_dilated_but_not_filtered() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(3, 2, 16, 16, generator=generator), torch.randn(2, 2, 3, 3, generator=generator)
    y = naive.conv_rows(x, weight, None, stride=2, d=2.0, base_h=8, base_w=8, filtered=True, v=0.0, weak_divisor=1.0)
    assert torch.equal(y, torch.cat([F.conv2d(row, weight, stride=2, padding=2, dilation=2) for row in x.split(1)]))


# --- the UNet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "count"), [("sd15", 34), ("sdxl", 21)])
def test_hooked_layers_are_the_known_convolutions(family: str, count: int) -> None:
    layers = naive.hooked_layers(family)
    assert len(layers) == count
    unet = load_unet(family)
    for name in layers:
        conv = unet.get_submodule(name)
        assert isinstance(conv, torch.nn.Conv2d)
        assert conv.kernel_size == (3, 3)
        assert conv.padding == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "step"), UNET_CASES)
def test_unet_matches_golden(family: str, step: int) -> None:
    folder = GOLDEN / UNETS[family]
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    data = load_npz(folder / "expected.npz")
    assert UNET_STEPS[family] == case["steps"]
    sample, context, added = three_rows(data, family)
    rows = naive.unet_rows(
        load_unet(family), sample, 981 - 20 * step, context, family=family, latent_hw=tuple(case["latent"]),
        base_px=None, D=case["dilation"], i=step, start=case["start_step"], stop=case["stop_step"],
        added_cond_kwargs=added,
    )  # fmt: skip
    for row, name in zip(rows.split(1), case["rows"], strict=True):
        torch.testing.assert_close(row, data[f"step{step:02d}/{name}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("family", "size"), [("sd15", (24, 16)), ("sd15", (21, 27)), ("sdxl", (21, 35))])
def test_unet_small_sizes(family: str, size: tuple[int, int]) -> None:
    """Odd sizes work; after `stop` the result is the plain UNet's; before it cond_weak is a row of its own."""
    data = load_npz(GOLDEN / UNETS[family] / "expected.npz")
    sample, context, added = three_rows(data, family)
    sample = sample[..., : size[0], : size[1]]
    unet = load_unet(family)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    outputs = {}
    for step in (0, 30):
        outputs[step] = naive.unet_rows(
            unet, sample, 500, context, family=family, latent_hw=size, base_px=(size[0] * 4, size[1] * 4), D=2,
            i=step, start=10, stop=30, added_cond_kwargs=added,
        )  # fmt: skip
    with torch.no_grad():
        plain = unet(sample, 500, encoder_hidden_states=context, added_cond_kwargs=added).sample
    torch.testing.assert_close(outputs[30], plain, atol=1e-5, rtol=0)
    assert outputs[0].shape == sample.shape
    assert outputs[0].isfinite().all()
    assert (outputs[0] - plain).abs().max() > 1e-3
    assert (outputs[0][1] - outputs[0][2]).abs().max() > 1e-4
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
