"""The weak rows of cond rows: how they are appended and folded, and that the shape of the calls does not matter."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fouriscale as fs
from fouriscale.hooks.rows import RowMap, check_labels, map_tensors
from fouriscale.methods.fouriscale import FouriScale
from ldm_unets import ldm_inputs, to_ldm
from unets import build, inputs, largest, noise, pick, run

TOLERANCE = 1e-5
PX = 160  # a latent of 20×20 over a base of 8×8: dilation 3, so that SDXL's weak rows have a dilation of their own
LATENT = PX // 8
Pair = namedtuple("Pair", "first second")

labels_of_chunks = st.lists(st.sampled_from(["uncond", "cond"]), min_size=1, max_size=5)


# --- the map ---------------------------------------------------------------------------------------------------------


@given(labels=labels_of_chunks, chunk=st.integers(1, 3))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_appended_weak_rows_come_back_in_their_places(labels: list[str], chunk: int) -> None:
    rows = RowMap.of(labels, chunk * len(labels))
    by_row = [label for label in labels for _ in range(chunk)]
    assert rows.cond == tuple(i for i, label in enumerate(by_row) if label == "cond")
    if not rows.cond:
        return
    x = torch.arange(1.0, 1.0 + rows.batch)[:, None].repeat(1, 2)
    inside = rows.append(x)
    assert inside.shape == (rows.total, 2)
    assert torch.equal(inside[: rows.batch], x)
    assert torch.equal(inside[rows.batch :], x[list(rows.cond)])
    assert torch.equal(rows.strip(inside), x)
    inside[rows.batch :] *= -1
    sign = torch.tensor([-1.0 if label == "cond" else 1.0 for label in by_row])
    assert torch.equal(rows.fold(inside), x * sign[:, None])


def test_labels_that_do_not_divide_the_batch() -> None:
    message = r"^rows = \('uncond', 'cond'\) do not fit a batch of 3 rows: 2 equal chunks$"
    with pytest.raises(fs.RowsError, match=message):
        RowMap.of(("uncond", "cond"), 3)


@pytest.mark.parametrize("labels", ["cond", (), ("cond", "weak"), ("Cond",), (0, 1)])
def test_refused_labels(labels: Any) -> None:
    with pytest.raises(fs.RowsError) as caught:
        check_labels(labels)
    assert str(caught.value) == f'rows = {labels!r} is not allowed: a sequence of "uncond" and "cond", or None'
    assert isinstance(caught.value, ValueError)
    unet = build("sd15")
    with pytest.raises(fs.RowsError):
        fs.attach(unet, fs.plan(unet, PX, PX), rows=labels)
    assert not unet._forward_pre_hooks


def test_accepted_labels() -> None:
    assert check_labels(["cond", "uncond"]) == ("cond", "uncond")
    assert check_labels(None) is None


def test_nested_containers_are_copied_not_changed() -> None:
    x, other = torch.ones(2, 3), torch.ones(5)
    residuals = [x, other]
    tree = {"list": residuals, "tuple": (x, None, "a"), "pair": Pair(x, 1), "record": UNet2DConditionOutput(sample=x)}
    done = RowMap(2, (1,)).append(tree)
    assert [value.shape[0] for value in done["list"]] == [3, 5]
    assert done["list"][1] is other
    assert done["tuple"][0].shape[0] == 3
    assert done["tuple"][1:] == (None, "a")
    assert isinstance(done["pair"], Pair)
    assert done["pair"].first.shape[0] == 3
    assert isinstance(done["record"], UNet2DConditionOutput)
    assert done["record"].sample.shape[0] == 3
    done["list"].clear()
    assert residuals[0] is x
    assert residuals[1] is other
    assert tree["record"].sample is x


def test_tensors_of_other_lengths_and_scalars_stay() -> None:
    scalar, one = torch.tensor(3.0), torch.ones(1, 4)
    for value in (scalar, one, 7, None, OrderedDict(a=scalar)["a"]):
        assert map_tensors(value, 2, lambda x: x * 0) is value


# --- which rows belong together --------------------------------------------------------------------------------------

THREE_AND_ONE = ("cond",) * 4 + ("uncond",) * 2


@pytest.mark.parametrize(
    ("labels", "batch", "samples", "partners"),
    [
        (THREE_AND_ONE, 6, (0, 0, 0, 1, 0, 1), [4, 4, 4, 5]),
        (THREE_AND_ONE, 6, (0, 0, 1, 1, 0, 1), [4, 4, 5, 5]),
        (("uncond", "cond") * 2, 8, None, [0, 1, 4, 5]),
        (("uncond", "cond"), 4, None, [0, 1]),
        (("cond", "uncond", "cond"), 6, None, [2, 3, 2, 3]),
        (("cond", "cond", "uncond", "uncond"), 4, None, [2, 3]),
        (("uncond", "cond", "cond", "uncond"), 4, (7, 3, 7, 3), [3, 0]),
    ],
)
def test_partners(labels: tuple[str, ...], batch: int, samples: tuple[int, ...] | None, partners: list[int]) -> None:
    rows = RowMap.of(labels, batch, samples=samples)
    assert rows.is_paired
    assert rows.partners() == partners


@pytest.mark.parametrize(
    ("labels", "samples"),
    [
        (THREE_AND_ONE, None),  # 3 + 1 parts, or 2 + 2
        (("cond",) * 3 + ("uncond",) * 2, None),
        (THREE_AND_ONE, (0, 0, 0, None, 0, 1)),
        (("cond", "uncond"), (0, 1)),  # of different samples
        (("cond", "uncond", "uncond"), (1, 0, 1)),  # the cond row of sample 0 is in another call
        (("cond", "uncond", "uncond"), (0, 0, 0)),
        (("cond", "cond"), (0, 1)),
    ],
)
def test_rows_that_are_not_known_to_belong_together_are_not_paired(
    labels: tuple[str, ...], samples: tuple[int | None, ...] | None
) -> None:
    rows = RowMap.of(labels, len(labels), samples=samples)
    assert not rows.is_paired
    with pytest.raises(fs.RowsError, match="cannot be paired"):
        rows.partners()


def test_as_many_samples_as_rows() -> None:
    message = r"^samples = \(0, 1, 0\) do not fit a batch of 2 rows: one number for each$"
    with pytest.raises(fs.RowsError, match=message):
        RowMap.of(("uncond", "cond"), 2, samples=(0, 1, 0))


# --- call shapes -----------------------------------------------------------------------------------------------------


def plan_for(unet: nn.Module, **changes: Any) -> fs.Plan:
    return fs.plan(unet, PX, PX, fs.Settings(base=(64, 64), **changes))


def one_by_one(unet: nn.Module, plan: fs.Plan, call: dict[str, Any], labels: tuple[str, ...], step: int) -> Tensor:
    """Every row in a UNet call of its own."""
    results = [run(unet, pick(call, [i]), plan, (label,), (step, 50)) for i, label in enumerate(labels)]
    return torch.cat(results)


SHAPES = [
    ("uncond", "cond"),
    ("cond", "uncond"),
    ("cond", "cond", "uncond"),  # a prompt of two parts
    ("uncond", "cond", "uncond", "cond"),
    ("cond", "uncond", "uncond", "cond", "cond"),
    ("cond",),
    ("uncond",),
    ("cond", "cond"),
]


@pytest.mark.parametrize("labels", SHAPES, ids="-".join)
@pytest.mark.parametrize(("family", "step"), [("sd15", 0), ("sdxl", 22)])
def test_any_order_of_rows_equals_single_calls(family: str, step: int, labels: tuple[str, ...]) -> None:
    unet = build(family)
    plan = plan_for(unet, start=0.4, stop=0.7)
    call = inputs(family, len(labels), LATENT, LATENT)
    together = run(unet, call, plan, labels, (step, 50))
    expected = one_by_one(unet, plan, call, labels, step)
    torch.testing.assert_close(together, expected, atol=TOLERANCE, rtol=0)
    assert largest(expected - run(unet, call)) > 100 * TOLERANCE


def test_cond_rows_come_from_weak_rows_and_uncond_rows_are_strong() -> None:
    unet = build("sdxl")
    plan = plan_for(unet)
    call = inputs("sdxl", 1, LATENT, LATENT)
    strong = run(unet, call, plan, None)
    torch.testing.assert_close(run(unet, call, plan, ("uncond",)), strong, atol=TOLERANCE, rtol=0)
    assert largest(run(unet, call, plan, ("cond",)) - strong) > 100 * TOLERANCE


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_are_chunks_of_equal_labels(batch: int) -> None:
    unet = build("sdxl")
    plan = plan_for(unet)
    call = inputs("sdxl", 2 * batch, LATENT, LATENT)
    together = run(unet, call, plan, ("uncond", "cond"))
    expected = one_by_one(unet, plan, call, ("uncond",) * batch + ("cond",) * batch, 0)
    torch.testing.assert_close(together, expected, atol=TOLERANCE, rtol=0)


def test_rows_can_change_from_call_to_call() -> None:
    unet = build("sd15")
    plan = plan_for(unet)
    call = inputs("sd15", 3, LATENT, LATENT)
    with torch.no_grad(), fs.attach(unet, plan, rows=None) as session:
        session.progress = (0, 50)
        session.rows = ("cond", "cond")  # type: ignore[assignment]
        cond = unet(**pick(call, [0, 1])).sample
        session.rows = ["uncond"]  # type: ignore[assignment]
        uncond = unet(**pick(call, [2])).sample
        assert session.rows == ("uncond",)
        assert session.calls == 2
    together = run(unet, call, plan, ("cond", "cond", "uncond"))
    torch.testing.assert_close(torch.cat([cond, uncond]), together, atol=TOLERANCE, rtol=0)


def test_batch_that_does_not_fit_the_labels_is_refused_and_nothing_sticks() -> None:
    unet = build("sd15")
    call = inputs("sd15", 3, LATENT, LATENT)
    plan = plan_for(unet)
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        with pytest.raises(fs.RowsError, match="do not fit a batch of 3 rows"):
            unet(**call)
        assert session.calls == 0
        result = unet(**pick(call, [0, 1])).sample
    assert torch.equal(result, run(unet, pick(call, [0, 1]), plan))


# --- everything else that has rows -----------------------------------------------------------------------------------


def residual_shapes(unet: Any, height: int, width: int) -> list[tuple[int, int, int]]:
    """Channels, height and width of the skips that a ControlNet adds to."""
    channels = unet.config.block_out_channels
    shapes = [(channels[0], height, width)]
    for level, wide in enumerate(channels):
        shapes += [(wide, height, width)] * 2
        if level < len(channels) - 1:
            height, width = -(-height // 2), -(-width // 2)
            shapes.append((wide, height, width))
    return shapes


def with_controlnet(call: dict[str, Any], unet: Any) -> dict[str, Any]:
    rows, (height, width) = len(call["sample"]), call["sample"].shape[-2:]
    shapes = residual_shapes(unet, height, width)
    residuals = tuple(noise(rows, *shape, seed=i) for i, shape in enumerate(shapes))
    return call | {
        "down_block_additional_residuals": residuals,
        "mid_block_additional_residual": noise(rows, *shapes[-1], seed=99),
    }


def pick_all(call: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """`pick`, for arguments that hold tuples or lists of tensors too."""
    chosen = pick(call, rows)
    for name, value in chosen.items():
        if isinstance(value, list | tuple):
            chosen[name] = type(value)(tensor[rows] for tensor in value)
    return chosen


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_controlnet_residuals(family: str) -> None:
    unet = build(family)
    plan = plan_for(unet)
    bare = inputs(family, 3, LATENT, LATENT)
    call = with_controlnet(bare, unet)
    labels = ("cond", "uncond", "cond")
    together = run(unet, call, plan, labels)
    expected = torch.cat([run(unet, pick_all(call, [i]), plan, (label,)) for i, label in enumerate(labels)])
    torch.testing.assert_close(together, expected, atol=TOLERANCE, rtol=0)
    assert largest(together - run(unet, bare, plan, labels)) > 100 * TOLERANCE


def test_adapter_residuals_leave_the_hosts_list_alone() -> None:
    """diffusers pops the residuals of a T2I adapter off the list it is given."""
    unet = build("sd15")
    plan = plan_for(unet)
    shapes = [(8, LATENT, LATENT), (8, LATENT // 2, LATENT // 2), (16, 5, 5), (16, 3, 3)]

    def call(rows: list[int]) -> dict[str, Any]:
        residuals = [noise(3, *shape, seed=i)[rows] for i, shape in enumerate(shapes)]
        return pick(inputs("sd15", 3, LATENT, LATENT), rows) | {"down_intrablock_additional_residuals": residuals}

    labels = ("uncond", "cond", "cond")
    whole = call([0, 1, 2])
    together = run(unet, whole, plan, labels)
    assert len(whole["down_intrablock_additional_residuals"]) == 4
    expected = torch.cat([run(unet, call([i]), plan, (label,)) for i, label in enumerate(labels)])
    torch.testing.assert_close(together, expected, atol=TOLERANCE, rtol=0)
    assert largest(together - run(unet, inputs("sd15", 3, LATENT, LATENT), plan, labels)) > 100 * TOLERANCE


def test_image_prompts() -> None:
    """An IP-Adapter hands every block a tuple of the text's and the image's embeddings."""
    unet = build("sd15")
    processors = dict(unet.attn_processors)
    for seed, name in enumerate(processors):
        if name.endswith("attn2.processor"):
            width = unet.get_submodule(name.removesuffix(".processor")).inner_dim
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                processors[name] = IPAdapterAttnProcessor2_0(width, cross_attention_dim=8, num_tokens=(2,), scale=1.0)
    unet.set_attn_processor(processors)
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([ImageProjection(6, 8, num_image_text_embeds=2)])
    unet.register_to_config(encoder_hid_dim_type="ip_image_proj")
    plan = plan_for(unet)

    def call(rows: list[int], strength: float = 1.0) -> dict[str, Any]:
        images = strength * noise(3, 1, 6, seed=5)[rows]
        return pick(inputs("sd15", 3, LATENT, LATENT), rows) | {"added_cond_kwargs": {"image_embeds": [images]}}

    labels = ("uncond", "cond", "cond")
    together = run(unet, call([0, 1, 2]), plan, labels)
    expected = torch.cat([run(unet, call([i]), plan, (label,)) for i, label in enumerate(labels)])
    torch.testing.assert_close(together, expected, atol=TOLERANCE, rtol=0)
    assert largest(together - run(unet, call([0, 1, 2], -1.0), plan, labels)) > 10 * TOLERANCE


def test_added_conditions_of_sdxl_stay_with_their_rows() -> None:
    unet = build("sdxl")
    plan = plan_for(unet)
    call = inputs("sdxl", 2, LATENT, LATENT)
    result = run(unet, call, plan)
    added = call["added_cond_kwargs"]
    swapped = call | {"added_cond_kwargs": added | {"text_embeds": added["text_embeds"].flip(0)}}
    other = run(unet, swapped, plan)
    for row in (0, 1):
        single = run(unet, pick(swapped, [row]), plan, (("uncond", "cond")[row],))
        torch.testing.assert_close(other[row : row + 1], single, atol=TOLERANCE, rtol=0)
        assert largest(other[row] - result[row]) > 100 * TOLERANCE


def test_attention_masks_of_the_text() -> None:
    unet = build("sd15")
    plan = plan_for(unet)
    call = inputs("sd15", 2, LATENT, LATENT) | {"encoder_attention_mask": torch.tensor([[1] * 7, [1] * 3 + [0] * 4])}
    together = run(unet, call, plan)
    expected = one_by_one(unet, plan, call, ("uncond", "cond"), 0)
    torch.testing.assert_close(together, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_ldm_calls_by_position_and_by_name(family: str) -> None:
    unet = build(family)
    twin = to_ldm(unet)
    call = inputs(family, 3, 24, 16)
    theirs = ldm_inputs(unet, call)
    assert ("y" in theirs) == (family == "sdxl")
    settings = fs.Settings(base=(64, 64))
    labels = ("cond", "uncond", "cond")
    expected = run(unet, call, fs.plan(unet, 128, 192, settings), labels)
    with torch.no_grad(), fs.attach(twin, fs.plan(twin, 128, 192, settings), rows=labels) as session:
        session.progress = (0, 50)
        for result in (twin(**theirs), twin(theirs["x"], theirs["timesteps"], theirs["context"], theirs.get("y"))):
            torch.testing.assert_close(result, expected, atol=TOLERANCE, rtol=0)


def test_diffusers_calls_by_position_with_tensors_of_timesteps_and_tuples_as_output() -> None:
    unet = build("sd15")
    plan = plan_for(unet)
    call = inputs("sd15", 2, LATENT, LATENT)
    expected = run(unet, call, plan)
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        for timesteps in (500, torch.tensor(500), torch.tensor([500]), torch.tensor([500, 500])):
            result = unet(call["sample"], timesteps, call["encoder_hidden_states"], return_dict=False)
            assert isinstance(result, tuple)
            assert result[0].shape == call["sample"].shape
            torch.testing.assert_close(result[0], expected, atol=TOLERANCE, rtol=0)


def test_frozen_output_records_are_replaced() -> None:
    @dataclasses.dataclass(frozen=True)
    class Output:
        sample: Tensor
        name: str

    before = Output(torch.tensor([[1.0], [2.0], [-2.0]]), "x")
    after = RowMap(2, (1,)).fold(before)
    assert torch.equal(after.sample, torch.tensor([[1.0], [-2.0]]))
    assert after.name == "x"
    assert len(before.sample) == 3


# --- weak rows that would be their rows ------------------------------------------------------------------------------


class AlwaysWeakRows(FouriScale):
    """Computes weak rows also where they cannot differ."""

    def weak_rows_differ(self, dilation: float) -> bool:
        return True


@pytest.mark.parametrize("settings", [{}, {"rounding": "down"}, {"layers": "mid"}, {"filter": False}])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_weak_rows_are_left_out_where_they_would_be_their_rows_and_nowhere_else(
    family: str, settings: dict[str, Any]
) -> None:
    unet = build(family)
    plan = fs.plan(unet, 200, 160, fs.Settings(**settings))
    fields = {f.name: getattr(plan.method, f.name) for f in dataclasses.fields(plan.method) if f.init}
    always = dataclasses.replace(plan, method=AlwaysWeakRows(**fields))
    x = inputs(family, 2, 20, 25)
    rows: list[int] = []
    unet.conv_out.register_forward_hook(lambda m, a, o: rows.append(len(o)))
    seen = set()
    for step in range(0, 35, 2):
        dilation = plan.dilation_at((step, 50))
        if dilation == 1.0:
            continue
        strong = run(unet, x, always, None, (step, 50))
        weak = run(unet, x, always, ("uncond", "cond"), (step, 50))
        ours = run(unet, x, plan, ("uncond", "cond"), (step, 50))
        differ = plan.method.weak_rows_differ(dilation)
        assert rows[-3:] == [2, 3, 3 if differ else 2]
        assert largest(ours - weak) <= 1e-6
        assert (largest(weak - strong) > 1e-6) == differ
        seen.add(differ)
    if not settings:
        assert seen == ({True, False} if family == "sd15" else {True})
