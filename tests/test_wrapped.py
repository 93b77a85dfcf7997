"""Convolutions inside adapters, and with a forward of someone else's: followed, or refused in a sentence."""

from __future__ import annotations

import copy
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fouriscale as fs
from ldm_unets import ldm_inputs, to_ldm
from unets import build, inputs, largest, run, traces

PX = 128
CONVS = ["conv1", "conv2", "conv", "proj_in", "to_q", "to_k"]
LDM_CONVS = ["in_layers.2", "out_layers.3", "op", "conv", "proj_in", "to_q", "to_k"]
KINDS: dict[str, Any] = {
    "lora": (peft.LoraConfig, {"r": 2}),
    "dora": (peft.LoraConfig, {"r": 2, "use_dora": True}),
    "loha": (peft.LoHaConfig, {"r": 2}),
    "lokr": (peft.LoKrConfig, {"r": 2}),
}


def with_adapter(unet: nn.Module, kind: str, targets: list[str] = CONVS) -> nn.Module:
    """`unet` with a random adapter on its convolutions, not merged."""
    config, options = KINDS[kind]
    peft.inject_adapter_in_model(config(target_modules=targets, **options), unet)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in unet.named_parameters():
        if "default" in name and "magnitude" not in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return unet.eval().requires_grad_(False)


def merged_into(plain: nn.Module, unet: nn.Module) -> nn.Module:
    """`plain` with the weights that `unet`'s base layers have once its adapters are merged."""
    for name, module in copy.deepcopy(unet).named_modules():
        if hasattr(module, "base_layer"):
            module.merge()
            plain.get_submodule(name).weight.data = module.base_layer.weight.data
    return plain


@pytest.mark.parametrize(
    ("kind", "family", "changes"),
    [
        ("lora", "sd15", {}),
        ("lora", "sd21", {"fast": True}),
        ("lora", "sdxl", {"rounding": "exact", "dilation": 1.7}),
        ("lora", "sdxl", {}),
        ("dora", "sd15", {}),
        ("loha", "sd15", {}),
        ("lokr", "sd15", {}),
    ],
)
def test_an_adapter_does_what_it_does_merged(kind: str, family: str, changes: dict[str, Any]) -> None:
    unet = with_adapter(build(family), kind)
    merged = merged_into(build(family), unet)
    settings = fs.Settings(base=(64, 64), **changes)
    plan, plain_plan = (fs.plan(one, PX, PX, settings) for one in (unet, merged))
    assert plan == plain_plan
    call = inputs(family, 2, PX // 8, PX // 8)
    before = traces(unet)
    expected = run(merged, call, plan, progress=(25, 50))
    torch.testing.assert_close(run(unet, call, plan, progress=(25, 50)), expected, atol=1e-5, rtol=0)
    assert traces(unet) == before
    assert largest(expected - run(build(family), call, plan, progress=(25, 50))) > 1e-3  # the adapter does something


def test_an_adapter_under_ldm_names() -> None:
    unet = with_adapter(to_ldm(build("sd15")), "lora", LDM_CONVS)
    merged = merged_into(to_ldm(build("sd15")), unet)
    plan = fs.plan(merged, PX, PX, fs.Settings(base=(64, 64)))
    assert fs.plan(unet, PX, PX, fs.Settings(base=(64, 64))) == plan
    call = ldm_inputs(build("sd15"), inputs("sd15", 2, PX // 8, PX // 8))
    results = []
    for one in (unet, merged):
        with torch.no_grad(), fs.attach(one, plan) as session:
            session.progress = (0, 50)
            results.append(one(**call))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=0)


def test_an_adapter_that_cannot_be_dilated_is_refused() -> None:
    unet = build("sd15")
    peft.inject_adapter_in_model(peft.BOFTConfig(target_modules=["conv1"], boft_block_size=2), unet)
    plan = fs.plan(unet, PX, PX)
    before = traces(unet)
    with pytest.raises(fs.UnsupportedModelError, match=r"conv1 carries an adapter .*merge it"):
        fs.attach(unet, plan)
    assert traces(unet) == before


# --- a forward of someone else's -------------------------------------------------------------------------------------


def cached_padding(conv: nn.Conv2d) -> None:
    """Seamless tiling as it is often written: the padding is noted once."""
    pads = tuple(conv._reversed_padding_repeated_twice)

    def forward(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wide = F.pad(x, pads, mode="circular")
        return F.conv2d(wide, weight, bias, self.stride, 0, self.dilation, self.groups)

    conv._conv_forward = forward.__get__(conv)  # type: ignore[method-assign]


def asked_padding(conv: nn.Conv2d) -> None:
    """The same, with the module asked every time."""

    def forward(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wide = F.pad(x, tuple(self._reversed_padding_repeated_twice), mode="circular")
        return F.conv2d(wide, weight, bias, self.stride, 0, self.dilation, self.groups)

    conv._conv_forward = forward.__get__(conv)  # type: ignore[method-assign]


def added_branch(conv: nn.Conv2d) -> None:
    """A LoRA put into the forward itself; its own convolution is not reached."""
    branch, original = nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride, 1), conv.forward
    conv.forward = lambda x: original(x) + branch(x)  # type: ignore[method-assign]


def moved_input(conv: nn.Conv2d) -> None:
    """As offloading does it: something is done to the input, then what was there is called."""
    original = conv.forward
    conv.forward = lambda x: original(x.contiguous())  # type: ignore[method-assign]


@pytest.mark.parametrize("change", [cached_padding, added_branch])
def test_convolutions_that_would_not_follow_are_refused(change: Any) -> None:
    unet = build("sd15").requires_grad_(False)
    for module in list(unet.modules()):
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            change(module)
    before = traces(unet)
    plan = fs.plan(unet, 128, 128)
    with pytest.raises(fs.UnsupportedModelError, match="of its own"):
        fs.attach(unet, plan)
    assert traces(unet) == before
    assert fs.attach(unet, fs.plan(unet, 64, 64)).hooks == 0  # where nothing is done, nothing is refused


@pytest.mark.parametrize(("change", "mode"), [(asked_padding, "circular"), (moved_input, "zeros")])
def test_convolutions_that_follow_are_not(change: Any, mode: str) -> None:
    unet, twin = build("sd15"), build("sd15")
    for one in (unet, twin):
        for module in list(one.modules()):
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                if one is unet:
                    change(module)
                else:
                    module.padding_mode = mode
    plan, call = fs.plan(twin, 128, 128), inputs("sd15", 2, 16, 16)
    torch.testing.assert_close(run(unet, call, plan), run(twin, call, plan), atol=1e-5, rtol=0)


def test_classes_that_hosts_replace_are_never_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = nn.Conv2d.forward

    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:  # A1111 applies its LoRA so
        seen.append(1)
        return original(self, x)

    unet, call = build("sd15"), inputs("sd15", 2, 16, 16)
    plan = fs.plan(unet, 128, 128)
    expected = run(unet, call, plan)
    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    with fs.attach(unet, plan):
        assert not seen
    assert torch.equal(run(unet, call, plan), expected)
    assert seen


def test_offloaded_weights_follow() -> None:
    accelerate = pytest.importorskip("accelerate")
    unet, call = build("sd15"), inputs("sd15", 2, 16, 16)
    plan = fs.plan(unet, 128, 128)
    expected = run(unet, call, plan)
    accelerate.cpu_offload(unet, torch.device("cpu"))
    torch.testing.assert_close(run(unet, call, plan), expected)
