"""ScaleCrafter and attention entropy as methods: the published numbers, and a naive implementation of each."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fouriscale as fs
from fouriscale.hooks import count_hooks
from fouriscale.methods.attn_entropy import entropy_scale
from ldm_unets import ldm_inputs, to_ldm
from unets import build, inputs, largest, pick, run, traces

TOLERANCE = 1e-5
CFG = 7.5

# --- the published runs ----------------------------------------------------------------------------------------------

# Dilation by block; of the convolutions that are not named none is dilated. Blocks that SDXL lacks are left out.
HALVED = {"down1": 2, "down2": 2, "down3": 2, "mid": 2, "up0": 2, "up1": 2, "up2": 2}
TALL = {"down1": 2, "down2": 3, "down3": 4, "mid": 4, "up0": 4, "up1": 3, "up2": 2}
TALL_DAMPED = {"down2": 3, "down3": 4, "mid": 4, "up0": 4, "up1": 3}
SD21_LARGE = {"down2": 3, "down2 downsampler": 4, "down3": 4, "mid": 4, "up0": 4, "up1": 4, "up2": 3, "up3": 2}
XL_SMALL = {"mid": 2, "up0": 2}
XL_TALL = {"down2": 3, "mid": 4, "up0": 4, "up1": 3, "up2": 2}


def by(factor: float, table: dict[str, float]) -> dict[str, float]:
    return dict.fromkeys(table, factor)


# family, (width, height) over the base, table, damped table, tau of 50 steps, progressive, how many convolutions
RUNS: list[Any] = [
    pytest.param("sd15", (2, 2), HALVED, None, 30, False, 39, id="sd15-1024x1024"),
    pytest.param("sd15", (2.5, 2.5), by(2.5, HALVED), None, 35, False, 39, id="sd15-1280x1280"),
    pytest.param("sd15", (4, 2), TALL, TALL_DAMPED, 35, True, 39, id="sd15-2048x1024"),
    pytest.param("sd15", (4, 4), TALL, TALL_DAMPED, 35, True, 39, id="sd15-2048x2048"),
    pytest.param("sd21", (2, 2), HALVED, None, 20, False, 39, id="sd21-1024x1024"),
    pytest.param("sd21", (2.5, 2.5), by(2.5, HALVED), None, 30, False, 39, id="sd21-1280x1280"),
    pytest.param("sd21", (4, 2), TALL, None, 37, True, 39, id="sd21-2048x1024"),
    pytest.param(
        "sd21", (4, 4), SD21_LARGE, {b: d for b, d in SD21_LARGE.items() if b != "up3"}, 37, True, 40,
        id="sd21-2048x2048",
    ),
    pytest.param("sdxl", (2, 2), XL_SMALL, None, 30, False, 11, id="sdxl-2048x2048"),
    pytest.param("sdxl", (2.5, 2.5), by(2.5, XL_SMALL), None, 30, False, 11, id="sdxl-2560x2560"),
    pytest.param("sdxl", (4, 2), XL_TALL, XL_SMALL, 35, True, 28, id="sdxl-4096x2048"),
    pytest.param("sdxl", (4, 4), {**XL_TALL, "down2": 4}, XL_SMALL, 35, True, 28, id="sdxl-4096x4096"),
]  # fmt: skip
STEPS = (0, 10, 20, 34, 35, 36, 49)


def published(table: dict[str, float] | None, name: str) -> float:
    """The table's dilation of a convolution, 1 where it has none."""
    block, rest = name.split(".", 1) if name.startswith("mid") else name.split(".", 2)[0:3:2]
    index = "" if block == "mid_block" else name.split(".")[1]
    short = block.removesuffix("_block").removesuffix("_blocks") + index
    kind = "downsampler" if "downsamplers" in rest else ""
    values = table or {}
    return values.get(f"{short} {kind}", values.get(short, 1))


def at_step(value: float, step: int, tau: int, progressive: bool) -> float:
    """ScaleCrafter's dilation of a convolution at a step."""
    if step >= tau or value == 1:
        return 1
    return max(math.ceil(value * ((tau - step) / tau)), 2) if progressive else value


def pixels(family: str, scales: tuple[float, float], side: int | None = None) -> tuple[int, int]:
    side = side or (1024 if family == "sdxl" else 512)
    return int(scales[0] * side), int(scales[1] * side)


@pytest.mark.parametrize(("family", "scales", "table", "damped", "tau", "progressive", "count"), RUNS)
def test_published_numbers(
    family: str, scales: tuple[float, float], table: dict[str, float], damped: dict[str, float] | None, tau: int,
    progressive: bool, count: int,
) -> None:  # fmt: skip
    for size in (pixels(family, scales), pixels(family, scales)[::-1]):
        plan = fs.plan_family(family, *size, fs.Settings(method="scalecrafter"))
        assert plan.base == pixels(family, (1, 1))
        assert len(plan.layers) == count
        assert plan.dilation == max(table.values())
        assert plan.stop == tau / 50
        assert plan.method.weak_label == (None if damped is None else "uncond")
        assert plan.method.redilation is not None
        assert plan.method.redilation.progressive is progressive
        for step in STEPS:
            dilation = plan.dilation_at((step, 50))
            assert (dilation > 1.0) == (step < tau)
            for layer in plan.layers if dilation > 1.0 else ():
                for weak, values in ((False, table), (True, damped or table)):
                    treatment = plan.method.treatment(layer, weak, dilation, (40, 40), 1)
                    expected = at_step(published(values, layer.name), step, tau, progressive)
                    assert treatment.dilation == math.ceil(expected), (step, layer.name)
                    assert treatment.stretch == math.ceil(expected) / expected
                    assert treatment.filter is None


def test_a_few_of_them_by_hand() -> None:
    plan = fs.plan_family("sd21", 2048, 2048, fs.Settings(method="scalecrafter"))
    layers = {layer.name: layer for layer in plan.layers}
    at = [plan.dilation_at((step, 50)) for step in (0, 10, 20, 34)]
    seen = {
        name: [plan.method.treatment(layers[name], False, dilation, (40, 40), 1).dilation for dilation in at]
        for name in ("mid_block.resnets.0.conv1", "down_blocks.2.resnets.1.conv2", "up_blocks.3.resnets.2.conv1")
    }
    assert seen == {
        "mid_block.resnets.0.conv1": [4, 3, 2, 2],
        "down_blocks.2.resnets.1.conv2": [3, 3, 2, 2],
        "up_blocks.3.resnets.2.conv1": [2, 2, 2, 2],
    }
    assert "up_blocks.3.upsamplers.0.conv" not in layers
    assert "down_blocks.2.downsamplers.0.conv" in layers
    assert "down_blocks.1.downsamplers.0.conv" not in layers


# --- a naive ScaleCrafter --------------------------------------------------------------------------------------------


def resizing(old: int, new: int) -> Tensor:
    """Matrix (new, old) of linear interpolation between sample centres."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        place = min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        low = min(int(place), old - 1)
        matrix[i, low] += 1 - (place - low)
        matrix[i, min(low + 1, old - 1)] += place - low
    return matrix.float()


def resize(x: Tensor, height: int, width: int) -> Tensor:
    return resizing(x.shape[-2], height) @ x @ resizing(x.shape[-1], width).T


def spread(kernel: Tensor, dilation: int) -> Tensor:
    """The kernel with dilation − 1 zeros between its entries."""
    wide = torch.zeros(*kernel.shape[:2], 2 * dilation + 1, 2 * dilation + 1)
    wide[..., ::dilation, ::dilation] = kernel
    return wide


def redilated(conv: nn.Conv2d, dilation: float) -> Callable[[Tensor], Tensor]:
    whole, stride = math.ceil(dilation), conv.stride[0]

    def forward(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if whole != dilation:
            x = resize(x, round(height * whole / dilation), round(width * whole / dilation))
        x = F.conv2d(x, spread(conv.weight, whole), conv.bias, stride=stride, padding=whole)
        if whole != dilation:  # to what the plain convolution gives, which halves even sizes
            x = resize(x, (height + stride - 1) // stride, (width + stride - 1) // stride)
        return x

    return forward


def naive(
    unet: nn.Module, call: dict[str, Any], table: dict[str, float], tau: int, progressive: bool, step: int
) -> Tensor:
    """One UNet evaluation with every 3×3 convolution of the table replaced."""
    unet = copy.deepcopy(unet)
    replaced = 0
    for name, conv in unet.named_modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3) and name.count("blocks.") + name.count("mid"):
            dilation = at_step(published(table, name), step, tau, progressive)
            if dilation != 1:
                conv.forward = redilated(conv, dilation)
                replaced += 1
    assert (replaced > 0) == (step < tau)
    with torch.no_grad():
        return unet(**call).sample


def set_up(family: str, scales: tuple[float, float], rows: int = 2) -> tuple[Any, fs.Plan, dict[str, Any]]:
    unet = build(family, seed=3)
    width, height = pixels(family, scales, 64)
    plan = fs.plan(unet, width, height, fs.Settings(method="scalecrafter"))
    return unet, plan, inputs(family, rows, height // 8, width // 8)


@pytest.mark.parametrize(("family", "scales", "table", "damped", "tau", "progressive", "count"), RUNS)
def test_estimates_are_those_of_the_naive_implementation(
    family: str, scales: tuple[float, float], table: dict[str, float], damped: dict[str, float] | None, tau: int,
    progressive: bool, count: int,
) -> None:  # fmt: skip
    unet, plan, call = set_up(family, scales)
    assert len(plan.layers) == count
    plain = run(unet, call)
    assert torch.equal(run(unet, call, plan, progress=(tau, 50)), plain)
    for step in (0, 12) if progressive else (0,):
        ours = run(unet, call, plan, progress=(step, 50))
        full = naive(unet, call, table, tau, progressive, step)
        uncond = full[:1]
        if damped is not None:
            uncond = naive(unet, pick(call, [0]), damped, tau, progressive, step)
            assert largest(uncond - full[:1]) > 100 * TOLERANCE
        torch.testing.assert_close(ours[:1], uncond, atol=TOLERANCE, rtol=0)
        guided = ours[0] + CFG * (ours[1] - ours[0])
        torch.testing.assert_close(guided, uncond[0] + CFG * (full[1] - full[0]), atol=CFG * TOLERANCE, rtol=0)
        assert largest(full - plain) > 100 * TOLERANCE


def test_fractional_dilation_step_by_step() -> None:
    """Enlarged by 3/2.5, dilated by 3, and back to the size that the plain convolution gives."""
    unet, plan, call = set_up("sd15", (2.5, 2.5))
    seen: dict[str, tuple[int, int, tuple[int, ...]]] = {}
    names = {layer.name: unet.get_submodule(layer.path) for layer in plan.layers}
    originals = {name: conv._conv_forward for name, conv in names.items()}
    for name, conv in names.items():

        def spy(x: Tensor, *rest: Any, name: str = name, conv: Any = conv) -> Tensor:
            out = originals[name](x, *rest)
            seen[name] = (x.shape[-1], out.shape[-1], conv.dilation)
            return out

        conv._conv_forward = spy
    out_sizes: dict[str, int] = {}
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        for name, conv in names.items():  # after the session's own
            conv.register_forward_hook(lambda m, a, out, name=name: out_sizes.update({name: out.shape[-1]}))
        unet(**call)
    # The latent is 20 wide; the blocks' feature maps are 20, 10, 5 and 3.
    assert seen["down_blocks.1.resnets.0.conv1"] == (12, 12, (3, 3))
    assert out_sizes["down_blocks.1.resnets.0.conv1"] == 10
    assert seen["down_blocks.1.downsamplers.0.conv"] == (12, 6, (3, 3))
    assert out_sizes["down_blocks.1.downsamplers.0.conv"] == 5
    assert seen["up_blocks.2.upsamplers.0.conv"] == (24, 24, (3, 3))
    assert out_sizes["up_blocks.2.upsamplers.0.conv"] == 20


def test_fractional_dilation_keeps_the_sizes_of_the_plain_unet() -> None:
    """A ControlNet's residuals have those sizes, also where a downsampler meets an odd one."""
    unet, plan, call = set_up("sd15", (2.5, 2.5))
    sizes: list[list[torch.Size]] = [[], []]
    for which, chosen in enumerate((None, plan)):
        handles = [
            module.register_forward_hook(lambda m, a, out, which=which: sizes[which].append(out.shape[-2:]))
            for name, module in unet.named_modules()
            if name.count(".") >= 2 and name.split(".")[-2] in ("resnets", "downsamplers", "upsamplers")
        ]
        run(unet, call, chosen)
        for handle in handles:
            handle.remove()
    assert torch.Size((3, 3)) in sizes[0]
    assert sizes[0] == sizes[1]


# --- noise-damped guidance in any arrangement of rows ----------------------------------------------------------------

PAIRS: list[Any] = [
    (("uncond", "cond"), None, [0], [1], [0]),
    (("cond", "uncond"), None, [1], [0], [0]),
    (("uncond", "cond"), None, [0, 1], [2, 3], [0, 1]),  # two samples, one label for both
    (("uncond", "uncond", "cond", "cond"), None, [0, 1], [2, 3], [0, 1]),
    # Two prompts of three parts and of one.
    (("cond",) * 4 + ("uncond",) * 2, (0, 0, 0, 1, 0, 1), [4, 5], [0, 1, 2, 3], [0, 0, 0, 1]),
    (("cond", "cond", "uncond"), None, [2], [0, 1], [0, 0]),
    (("cond", "cond", "uncond"), None, [4, 5], [0, 1, 2, 3], [0, 1, 0, 1]),  # two prompts of two parts, part by part
    (("uncond", "cond") * 2, None, [0, 1, 4, 5], [2, 3, 6, 7], [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("labels", "samples", "unconds", "conds", "partners"), PAIRS)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_damped_guidance(
    family: str, labels: tuple[str, ...], samples: tuple[int, ...] | None, unconds: list[int], conds: list[int],
    partners: list[int],
) -> None:  # fmt: skip
    table, damped = (TALL, TALL_DAMPED) if family == "sd15" else (XL_TALL, XL_SMALL)
    unet, plan, call = set_up(family, (4, 2), len(unconds) + len(conds))
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (10, 50)
        session.label(labels, samples)
        ours = unet(**call).sample
        assert session.unamplified == 0
    full = naive(unet, call, table, 35, True, 10)
    less = naive(unet, pick(call, unconds), damped, 35, True, 10)
    torch.testing.assert_close(ours[unconds], less, atol=TOLERANCE, rtol=0)
    for row, partner in zip(conds, partners, strict=True):
        guided = ours[unconds[partner]] + CFG * (ours[row] - ours[unconds[partner]])
        expected = less[partner] + CFG * (full[row] - full[unconds[partner]])
        torch.testing.assert_close(guided, expected, atol=CFG * TOLERANCE, rtol=0)


def test_cond_and_uncond_in_calls_of_their_own_are_not_damped_and_counted() -> None:
    unet, plan, call = set_up("sd15", (4, 2))
    full = naive(unet, call, TALL, 35, True, 10)
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (10, 50)
        for row, label, counted in ((0, "uncond", 0), (1, "cond", 1)):
            session.rows = (label,)
            ours = unet(**pick(call, [row])).sample
            torch.testing.assert_close(ours, full[row : row + 1], atol=TOLERANCE, rtol=0)
            assert session.unamplified == counted
        session.rows = None
        torch.testing.assert_close(unet(**call).sample, full, atol=TOLERANCE, rtol=0)
        assert session.unamplified == 2
        session.progress = (35, 50)
        unet(**call)
        assert session.unamplified == 2  # plain: nothing is missed


def test_rows_that_cannot_be_paired_are_not_damped_and_counted() -> None:
    """Two prompts of one batch, of two parts and of one: whose the second cond row is, labels do not say."""
    unet, plan, call = set_up("sd15", (4, 2), 5)
    full = naive(unet, call, TALL, 35, True, 10)
    with torch.no_grad(), fs.attach(unet, plan, rows=("cond",) * 3 + ("uncond",) * 2) as session:
        session.progress = (10, 50)
        torch.testing.assert_close(unet(**call).sample, full, atol=TOLERANCE, rtol=0)
        assert session.unamplified == 1


def test_without_guidance_nothing_is_damped() -> None:
    unet, _, call = set_up("sd15", (4, 2))
    plan = fs.plan(unet, 256, 128, fs.Settings(method="scalecrafter", guidance=False))
    torch.testing.assert_close(
        run(unet, call, plan, progress=(10, 50)), naive(unet, call, TALL, 35, True, 10), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize(
    ("family", "scales", "dilation"), [("sd15", (4, 2), None), ("sd15", (2, 2), 2.5), ("sdxl", (4, 2), None)]
)
def test_both_namings_agree_on_scalecrafter(family: str, scales: tuple[float, float], dilation: float | None) -> None:
    unet, _, call = set_up(family, scales)
    chosen = fs.Settings(method="scalecrafter", base=(64, 64), dilation=dilation)
    plan = fs.plan(unet, *pixels(family, scales, 64), chosen)
    expected = run(unet, call, plan, progress=(5, 50))
    twin = to_ldm(unet)
    with torch.no_grad(), fs.attach(twin, fs.plan(twin, *plan.size, chosen)) as session:
        session.progress = (5, 50)
        ours = twin(**ldm_inputs(unet, call))
    torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=0)


def test_layers_of_ones_own_are_chosen_among_the_published_ones() -> None:
    plan = fs.plan_family("sd15", 1024, 1024, fs.Settings(method="scalecrafter", layers="mid"))
    assert [layer.name for layer in plan.layers] == [f"mid_block.resnets.{i}.conv{j}" for i in (0, 1) for j in (1, 2)]


# --- attention entropy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "ratio", "factor"),
    [
        (16384, 4.0, math.sqrt(math.log(16384) / math.log(4096))),  # SD 1.5 at 1024×1024, first level: 14/12
        (65536, 16.0, math.sqrt(16 / 12)),
        (4, 4.0, 1.0),
        (1, 1.0, 1.0),
        (8, 4.0, 1.0),
        (12, 4.0, math.sqrt(math.log(12) / math.log(3))),
    ],
)
def test_entropy_scale(tokens: int, ratio: float, factor: float) -> None:
    assert entropy_scale(tokens, ratio) == pytest.approx(factor, rel=1e-12)


class Sharpened:
    """Self-attention written out, with logits scaled for the number of tokens."""

    def __init__(self, area_ratio: float):
        self.area_ratio = area_ratio

    def __call__(self, attn: Any, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        q, k, v = (
            layer(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        tokens = q.shape[-2]
        trained = tokens / self.area_ratio
        scale = q.shape[-1] ** -0.5
        if trained > math.e:
            scale *= math.sqrt(math.log(tokens) / math.log(trained))
        weights = torch.softmax(q @ k.transpose(-1, -2) * scale, dim=-1)
        return attn.to_out[1](attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("size", [(128, 128), (192, 128)])
@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_attention_entropy(family: str, size: tuple[int, int]) -> None:
    unet = build(family, seed=3)
    plan = fs.plan(unet, *size, fs.Settings(method="attn-entropy", base=(64, 64)))
    call = inputs(family, 2, size[1] // 8, size[0] // 8)
    other = copy.deepcopy(unet)
    processors = dict(other.attn_processors)
    for name in processors:
        if name.endswith("attn1.processor"):
            processors[name] = Sharpened(size[0] * size[1] / 64**2)
    other.set_attn_processor(processors)
    expected, plain = run(other, call), run(unet, call)
    assert largest(expected - plain) > 20 * TOLERANCE
    for step in (0, 25, 49):
        torch.testing.assert_close(run(unet, call, plan, progress=(step, 50)), expected, atol=TOLERANCE, rtol=0)
    twin = to_ldm(unet)
    with torch.no_grad(), fs.attach(twin, fs.plan(twin, *size, plan.settings)) as session:
        session.progress = 0.9
        ours = twin(**ldm_inputs(unet, call))
        assert session.hooks == 2 + len(session.plan.attention)
    torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=0)


def test_attention_entropy_touches_no_convolution_and_makes_no_rows() -> None:
    unet = build("sd15")
    plan = fs.plan(unet, 128, 128, fs.Settings(method="attn-entropy"))
    rows: list[int] = []
    unet.conv_out.register_forward_pre_hook(lambda m, args: rows.append(len(args[0])))
    convs = {m for m in unet.modules() if isinstance(m, nn.Conv2d)}
    before = {m: len(m._forward_hooks) + len(m._forward_pre_hooks) for m in convs}
    with torch.no_grad(), fs.attach(unet, plan) as session:
        assert {m: len(m._forward_hooks) + len(m._forward_pre_hooks) for m in convs} == before
        assert session.hooks == count_hooks(unet) == 2 + 16  # two on the UNet, one per self-attention
        unet(**inputs("sd15", 2, 16, 16))
        assert (session.calls, session.unamplified) == (1, 0)
    assert rows == [2]


# --- nothing is left -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, RuntimeError("boom"), KeyboardInterrupt("stop")], ids=["ok", "error", "exit"])
@pytest.mark.parametrize("scales", [(4, 2), (2.5, 2.5)])
@pytest.mark.parametrize("method", ["scalecrafter", "attn-entropy"])
def test_no_trace(method: str, scales: tuple[float, float], error: BaseException | None) -> None:
    unet, _, call = set_up("sd15", scales)
    armed = False

    def bomb(*_: object) -> None:
        if armed and error is not None:
            raise error

    unet.mid_block.resnets[1].conv1.register_forward_pre_hook(bomb)
    clean, plain = traces(unet), run(unet, call)
    plan = fs.plan(unet, *pixels("sd15", scales, 64), fs.Settings(method=method))
    expected = run(unet, call, plan)
    assert largest(expected - plain) > 20 * TOLERANCE
    session = fs.attach(unet, plan)
    session.progress = (0, 50)
    armed = True
    with torch.no_grad():
        if error is None:
            unet(**call)
        else:
            with pytest.raises(type(error)):
                unet(**call)
        armed = False
        assert torch.equal(unet(**call).sample, expected)  # the next call is as if nothing had happened
    assert session.hooks == count_hooks(unet) > 0
    session.close()
    assert count_hooks(unet) == 0
    assert traces(unet) == clean
    assert torch.equal(run(unet, call), plain)


def test_methods_are_three_different_things() -> None:
    unet = build("sd15")
    call = inputs("sd15", 2, 16, 16)
    results = [
        run(unet, call, fs.plan(unet, 128, 128, fs.Settings(method=method)))
        for method in ("fouriscale", "scalecrafter", "attn-entropy")
    ]
    for i, one in enumerate(results):
        for other in results[:i]:
            assert largest(one - other) > 20 * TOLERANCE
