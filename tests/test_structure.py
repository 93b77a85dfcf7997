"""Which convolutions are found in a UNet, under which names, and which modules are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel, UNet2DModel
from torch import nn

import fouriscale as fs
from fouriscale.lab import naive
from fouriscale.unet.structure import Structure, blueprint_structure, describe
from ldm_unets import attended_up_blocks, ldm_inputs, ldm_name, to_ldm
from unets import BASE, build, inputs

FAMILIES = ["sd15", "sd21", "sdxl"]
COUNTS = {"sd15": 34, "sd21": 34, "sdxl": 21}


def build_ldm(family: str) -> nn.Module:
    return to_ldm(build(family))


def measured_inputs(unet: nn.Module, structure: Structure, call: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The height and width that every found convolution got as input, in the order in which they ran."""
    seen: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        return lambda _, args: seen.update({name: tuple(args[0].shape[-2:])})

    handles = [unet.get_submodule(c.path).register_forward_pre_hook(note(c.name)) for c in structure.convs]
    with torch.no_grad():
        unet(**call)
    for handle in handles:
        handle.remove()
    return seen


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("naming", ["diffusers", "ldm", "blueprint"])
def test_published_layers(family: str, naming: str) -> None:
    if naming == "blueprint":
        structure = blueprint_structure(family)
    else:
        structure = describe(build(family) if naming == "diffusers" else build_ldm(family))
    assert structure.naming == naming
    assert structure.family == family
    layers = structure.select("published", family)
    assert len(layers) == COUNTS[family]
    assert {layer.name for layer in layers} == set(naive.hooked_layers(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_all_namings_agree(family: str) -> None:
    ours, theirs, known = describe(build(family)), describe(build_ldm(family)), blueprint_structure(family)
    found = [(c.name, c.role, c.level) for c in ours.convs]
    assert found == [(c.name, c.role, c.level) for c in theirs.convs]
    assert found == [(c.name, c.role, c.level) for c in known.convs]
    assert len(found) == {"sd15": 50, "sd21": 50, "sdxl": 38}[family]
    assert ours.blueprint == theirs.blueprint
    assert [prefix for prefix, _ in ours.stages] == [prefix for prefix, _ in known.stages]
    assert list(dict.fromkeys(prefix for prefix, _ in theirs.stages)) == [prefix for prefix, _ in known.stages]
    assert len(ours.attention) == len(theirs.attention) == {"sd15": 16, "sd21": 16, "sdxl": 17}[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("naming", ["diffusers", "ldm"])
def test_levels_and_order_are_what_a_forward_shows(family: str, naming: str) -> None:
    unet = build(family)
    call = inputs(family, 1, 16, 24)
    if naming == "ldm":
        unet, call = to_ldm(unet), ldm_inputs(unet, call)
    structure = describe(unet)
    seen = measured_inputs(unet, structure, call)
    assert list(seen) == [c.name for c in structure.convs]
    for conv in structure.convs:
        module = unet.get_submodule(conv.path)
        assert isinstance(module, nn.Conv2d)
        assert module.kernel_size == (3, 3)
        assert module.padding == (1, 1)
        assert module.stride == ((2, 2) if conv.role == "downsampler" else (1, 1))
        assert seen[conv.name] == (16 // 2**conv.level, 24 // 2**conv.level)


NAMES = [
    ("sd15", "down_blocks.2.resnets.0.conv1", "input_blocks.7.0.in_layers.2"),
    ("sd15", "down_blocks.2.resnets.1.conv2", "input_blocks.8.0.out_layers.3"),
    ("sd15", "down_blocks.2.downsamplers.0.conv", "input_blocks.9.0.op"),
    ("sd15", "down_blocks.3.resnets.1.conv1", "input_blocks.11.0.in_layers.2"),
    ("sd15", "mid_block.resnets.0.conv1", "middle_block.0.in_layers.2"),
    ("sd15", "mid_block.resnets.1.conv2", "middle_block.2.out_layers.3"),
    ("sd15", "up_blocks.0.resnets.2.conv1", "output_blocks.2.0.in_layers.2"),
    ("sd15", "up_blocks.0.upsamplers.0.conv", "output_blocks.2.1.conv"),
    ("sd15", "up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
    ("sd15", "up_blocks.2.resnets.0.conv2", "output_blocks.6.0.out_layers.3"),
    ("sd15", "up_blocks.2.upsamplers.0.conv", "output_blocks.8.2.conv"),
    ("sdxl", "down_blocks.2.resnets.1.conv2", "input_blocks.8.0.out_layers.3"),
    ("sdxl", "mid_block.resnets.1.conv1", "middle_block.2.in_layers.2"),
    ("sdxl", "up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
    ("sdxl", "up_blocks.1.resnets.2.conv2", "output_blocks.5.0.out_layers.3"),
]


@pytest.mark.parametrize(("family", "name", "path"), NAMES)
def test_naming_table(family: str, name: str, path: str) -> None:
    paths = {c.name: c.path for c in describe(build_ldm(family)).convs}
    assert paths[name] == path
    assert {c.name: c.path for c in describe(build(family)).convs}[name] == name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_ldm_path_holds_the_same_weights(family: str) -> None:
    unet = build(family)
    twin = to_ldm(unet)
    attended = attended_up_blocks(unet)
    for conv in describe(twin).convs:
        assert conv.path == ldm_name(conv.name, attended)
        assert torch.equal(twin.get_submodule(conv.path).weight, unet.get_submodule(conv.name).weight)


@pytest.mark.parametrize(
    ("family", "first", "shared"),
    [
        ("sd15", "down_blocks.2.resnets.0.conv1", ("conv_in", "down_blocks.0", "down_blocks.1")),
        ("sdxl", "mid_block.resnets.0.conv1", ("conv_in", "down_blocks.0", "down_blocks.1", "down_blocks.2")),
        ("sd15", "down_blocks.0.resnets.0.conv1", ("conv_in",)),
    ],
)
def test_stages_before_a_convolution(family: str, first: str, shared: tuple[str, ...]) -> None:
    assert describe(build(family)).before(first) == shared
    count = 1 + 3 * (len(shared) - 1)  # ldm has a stage per resnet and downsampler
    if first.startswith("mid_block"):
        count -= 1  # the last level has no downsampler
    assert describe(build_ldm(family)).before(first) == tuple(f"input_blocks.{k}" for k in range(count))


# --- families and training sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "base"), [("sd15", 512), ("sd21", 512), ("sdxl", 1024)])
def test_training_size_of_the_family_where_the_unet_does_not_say(family: str, base: int) -> None:
    assert describe(build_ldm(family)).base == base
    assert describe(build(family, sample_size=None)).base == base


@pytest.mark.parametrize(("sample_size", "base"), [(8, 64), (64, 512), (96, 768), ([48, 96], 768)])
def test_training_size_from_the_config(sample_size: Any, base: int) -> None:
    assert describe(build("sd21", sample_size=sample_size)).base == base


def test_plan_of_a_768_model() -> None:
    plan = fs.plan(build("sd21", sample_size=96), 1536, 1152)
    assert (plan.base, plan.dilation) == ((768, 768), 2.0)
    assert not fs.plan(build("sd21", sample_size=96), 768, 768).active


def test_sdxl_buckets_follow_the_training_size() -> None:
    assert fs.plan(build("sdxl"), 2 * BASE, 2 * BASE).base == (BASE, BASE)


def test_family_setting_overrides_recognition() -> None:
    plan = fs.plan(build("sd15"), 128, 128, fs.Settings(family="sdxl"))
    assert (plan.family, plan.method.stopbands, plan.method.weak_divisor) == ("sdxl", (0.6, 0.6), 1.5)


# --- selecting layers ------------------------------------------------------------------------------------------------


def test_named_sets() -> None:
    structure = describe(build("sd15"))
    sets = {name: [c.name for c in structure.select(name, "sd15")] for name in ("published", "down+mid", "mid")}
    assert len(sets["down+mid"]) == 4 + 1 + 4 + 4
    assert sets["down+mid"] == [name for name in sets["published"] if not name.startswith("up_blocks")]
    assert sets["mid"] == [f"mid_block.resnets.{j}.conv{c}" for j in (0, 1) for c in (1, 2)]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("mid_block.resnets.0.conv1", ["mid_block.resnets.0.conv1"]),
        (
            "up_blocks.0.upsamplers.*, mid_block.resnets.1.conv2,",
            ["mid_block.resnets.1.conv2", "up_blocks.0.upsamplers.0.conv"],
        ),
        (
            "mid_block.*.conv1,mid_block.resnets.0.*",
            ["mid_block.resnets.0.conv1", "mid_block.resnets.0.conv2", "mid_block.resnets.1.conv1"],
        ),
        ("*.downsamplers.*", [f"down_blocks.{i}.downsamplers.0.conv" for i in range(3)]),
    ],
)  # fmt: skip
def test_patterns_select_in_order_of_execution(layers: str, expected: list[str]) -> None:
    for unet in (build("sd15"), build_ldm("sd15")):
        assert [c.name for c in describe(unet).select(layers, "sd15")] == expected
        plan = fs.plan(unet, 1024, 1024, fs.Settings(layers=layers))
        assert [layer.name for layer in plan.layers] == expected


def test_star_selects_every_convolution() -> None:
    structure = describe(build("sdxl"))
    assert structure.select("*", "sdxl") == structure.convs


@pytest.mark.parametrize(
    "pattern", ["input_blocks.7.0.in_layers.2", "conv_in", "mid_block.attentions.*", "Mid_block.*"]
)
def test_patterns_that_match_nothing(pattern: str) -> None:
    message = f"layers = {pattern!r} is not allowed: no such convolution; names look like down_blocks.0.resnets.0.conv1"
    with pytest.raises(fs.SettingsError, match="^" + re.escape(message) + "$"):
        fs.plan(build("sd15"), 128, 128, fs.Settings(layers="mid_block.*," + pattern))


# --- refusals --------------------------------------------------------------------------------------------------------


class Lookalike(nn.Module):
    """Has the attributes of an ldm UNet and nothing inside."""

    def __init__(self) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList()
        self.middle_block = nn.Sequential()
        self.output_blocks = nn.ModuleList()


def transformer() -> nn.Module:
    return DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=4, num_layers=1, sample_size=8
    )


NEITHER = (
    " is not a UNet of Stable Diffusion 1.x, 2.x or XL: it has neither down_blocks, mid_block and up_blocks nor "
    "input_blocks, middle_block and output_blocks"
)
WRONG_PARTS = "; the UNets of Stable Diffusion 1.x, 2.x and XL have 3 or 4 resolutions and self-attention"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3)), "Sequential" + NEITHER),
        (transformer, "DiTTransformer2DModel" + NEITHER),
        (Lookalike, "Lookalike has 1 resolutions and 0 self-attention layers" + WRONG_PARTS),
        (
            lambda: UNet2DModel(block_out_channels=(8, 8, 8, 8), norm_num_groups=4, attention_head_dim=4),
            "UNet2DModel has 4 resolutions and 0 self-attention layers" + WRONG_PARTS,
        ),
        (
            lambda: build(
                "sd15", block_out_channels=(8, 8), down_block_types=("CrossAttnDownBlock2D",) * 2,
                up_block_types=("CrossAttnUpBlock2D",) * 2,
            ),
            "UNet2DConditionModel has 2 resolutions and 11 self-attention layers" + WRONG_PARTS,
        ),
    ],
    ids=["sequential", "transformer", "lookalike", "unconditional", "shallow"],
)  # fmt: skip
def test_refused_modules(make: Any, message: str) -> None:
    with pytest.raises(fs.UnsupportedModelError, match="^" + re.escape(message) + "$") as caught:
        fs.plan(make(), 128, 128)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("in_place", [False, True])
def test_compiled_modules_are_refused(in_place: bool) -> None:
    unet: Any = build("sd15")
    if in_place:
        unet.compile()
    else:
        unet = torch.compile(unet)
    message = " is compiled by torch.compile, which ignores hooks that are added later; pass the UNet as it was before"
    with pytest.raises(fs.UnsupportedModelError, match=f"^{type(unet).__name__}{message} compilation$"):
        fs.plan(unet, 128, 128)


def test_fused_projections_are_refused_until_unfused() -> None:
    unet = build("sd15")
    unet.fuse_qkv_projections()
    message = (
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1 has fused query, key and value projections; "
        "call unfuse_qkv_projections() first"
    )
    with pytest.raises(fs.UnsupportedModelError, match="^" + re.escape(message) + "$"):
        describe(unet)
    unet.unfuse_qkv_projections()
    assert len(describe(unet).attention) == 16


def test_unknown_family() -> None:
    with pytest.raises(KeyError):
        blueprint_structure("sd3")
