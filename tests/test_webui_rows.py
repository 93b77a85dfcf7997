"""However a WebUI splits and orders its rows, the picture is that of the plain computation of all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import Timesteps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fouriscale as fs
from fouriscale.hooks import count_hooks
from fouriscale.hosts.webui.rows import A1111Rows, and_parts, with_size
from unets import largest, noise
from webui_standin import COND, SIZES, STEP, TIMESTEPS, Host, Processing, join, text_and_vector, words
from webui_unets import Control, inner_rows, three_rows

TOLERANCE = 1e-5
WITH_WEAK = (True, True, False)  # in which of the three steps the UNet is dilated
AND = {"weights": ((0.6, 0.5), (0.6, 0.5))}


def size_vector(y: Tensor, base: tuple[int, int], last: bool = True) -> Tensor:
    """SDXL's vector with the base size in it: each number v as cos and sin of v · 10000^(−i/128), i from 0 to 127."""
    width, height = base
    numbers = np.array([height, width, 0, 0, height, width][: 6 if last else 4], dtype=np.float64)
    angles = numbers[:, None] * 10000.0 ** (-np.arange(128) / 128)
    told = np.concatenate((np.cos(angles), np.sin(angles)), axis=1).ravel()
    result = y.clone()
    result[:, 1280 : 1280 + len(told)] = torch.from_numpy(told).float()
    return result


def plan_of(host: Host, p: Processing, **settings: Any) -> fs.Plan:
    plan = fs.plan(host.unet, 8 * p.size[1], 8 * p.size[0], fs.Settings(**settings))
    assert plan.active
    return plan


def expected(host: Host, p: Processing, **more: Any) -> Tensor:
    """The plain computation of the picture of `p`."""
    plan = plan_of(host, p)
    vector = (lambda y: size_vector(y, plan.base)) if host.family == "sdxl" else (lambda y: y)
    return three_rows(host.unet, plan, p.latent(), p.words, **{"scale": p.cfg_scale, "vector": vector, **more})


def check(host: Host, picture: Tensor, wanted: Tensor) -> None:
    assert host.errors == []
    assert count_hooks(host.unet) == 0
    torch.testing.assert_close(picture, wanted, atol=TOLERANCE, rtol=0)


CASES: list[Any] = [
    pytest.param(forge, family, {}, {}, {}, id=f"{'forge' if forge else 'a1111'}-{family}")
    for forge in (False, True)
    for family in ("sd15", "sd21", "sdxl")
]
for forge in (False, True):
    name = "forge" if forge else "a1111"
    CASES += [
        pytest.param(forge, "sd15", AND, {}, {}, id=f"{name}-and-batch-2"),
        pytest.param(forge, "sdxl", AND, {}, {}, id=f"{name}-sdxl-and-batch-2"),
        pytest.param(forge, "sd15", {**AND, "uncond_tokens": 14}, {}, {}, id=f"{name}-unequal-lengths"),
        pytest.param(forge, "sdxl", {"tokens": 14}, {}, {}, id=f"{name}-sdxl-unequal-lengths"),
        pytest.param(forge, "sd15", {}, {"steps_without_uncond": (1,)}, {}, id=f"{name}-ngms"),
        pytest.param(forge, "sd15", {}, {}, {"cfg_scale": 1.0}, id=f"{name}-cfg-1"),
        pytest.param(forge, "sd15", {}, {}, {"size": (32, 8)}, id=f"{name}-tall"),
    ]
CASES += [
    pytest.param(False, "sd15", {"weights": ((0.6, 0.5), (1.0,))}, {}, {}, id="a1111-and-in-one-picture"),
    pytest.param(False, "sd15", {}, {"batch_cond_uncond": False}, {}, id="a1111-unbatched"),
    pytest.param(False, "sdxl", AND, {"batch_cond_uncond": False}, {}, id="a1111-sdxl-unbatched-and"),
    pytest.param(
        False, "sd15", {"weights": ((0.6, 0.5), (1.0,))}, {"batch_cond_uncond": False}, {}, id="a1111-mixed-chunks"
    ),
    pytest.param(
        False, "sd15", {**AND, "tokens": 14}, {"batch_cond_uncond": False}, {}, id="a1111-unbatched-unequal-lengths"
    ),
    pytest.param(True, "sd15", AND, {"room": 2}, {}, id="forge-each-chunk-alone"),
    pytest.param(True, "sdxl", AND, {"room": 4}, {}, id="forge-uncond-alone-then-two"),
    pytest.param(True, "sd15", {"tokens": 5, "uncond_tokens": 7}, {}, {}, id="forge-lengths-that-do-not-join"),
]


@pytest.mark.parametrize(("forge", "family", "prompts", "flags", "request_"), CASES)
def test_picture_is_that_of_the_plain_computation(
    monkeypatch: pytest.MonkeyPatch, forge: bool, family: str, prompts: dict[str, Any], flags: dict[str, Any],
    request_: dict[str, Any],
) -> None:  # fmt: skip
    host = Host(monkeypatch, family, forge)
    for name, value in flags.items():
        setattr(host, name, value)
    p, (picture,) = host.request(True, prompts=words(family, **prompts), **request_)
    check(host, picture, expected(host, p, without_uncond=flags.get("steps_without_uncond", ())))
    assert p.comments == {}


def test_the_plain_computation_tells_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weak rows, dilation and order all matter by far more than the tolerance."""
    host = Host(monkeypatch)
    p, (picture,) = host.request(True)
    plan = plan_of(host, p, guidance=False)
    assert largest(picture - three_rows(host.unet, None, p.latent(), p.words)) > 1000 * TOLERANCE
    assert largest(picture - three_rows(host.unet, plan, p.latent(), p.words)) > 1000 * TOLERANCE


@pytest.mark.parametrize("forge", [False, True])
def test_rows_inside_the_unet(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    with inner_rows(host.unet) as rows:
        host.request(True)
    assert rows == [3 if weak else 2 for weak in WITH_WEAK]


def test_attention_replaced_throughout_finds_every_mark_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """StyleAlign and Reference gather, for each mark, all rows of its kind, and put them together in that order."""
    host = Host(monkeypatch, forge=True)
    batches: list[int] = []

    def gather(x: Tensor, flag: str, layer: Any, index: int, block: Any, options: dict[str, Any]) -> Tensor:
        kinds = [options["cond_indices" if mark == COND else "uncond_indices"] for mark in options["cond_or_uncond"]]
        out = torch.cat([x[kind] for kind in kinds if kind])
        assert out.shape == x.shape
        batches.append(len(x))
        return out

    def around(unet: Any, x: Tensor, timesteps: Tensor, call: dict[str, Any]) -> Tensor:
        replaced = {("input", 1, 0): gather, ("input", 2, 0): gather}
        options = {
            **call["transformer_options"], "patches_replace": {"attn1": replaced}, "block_inner_modifiers": [gather]
        }  # fmt: skip
        return unet(x, timesteps, **{**call, "transformer_options": options})

    host.around_unet = around
    p, (picture,) = host.request(True, prompts=words("sd15", weights=((1.0,), (1.0,))))
    assert set(batches) == {2, 4}  # 4: two cond rows and their weak rows, or the plain call at the end
    check(host, picture, expected(host, p))


# --- calls that the denoiser did not announce ------------------------------------------------------------------------


@pytest.mark.parametrize("without_uncond", [(), (0, 1)])
@pytest.mark.parametrize("forge", [False, True])
def test_extra_calls_get_no_weak_rows(
    monkeypatch: pytest.MonkeyPatch, forge: bool, without_uncond: tuple[int, ...]
) -> None:
    """Self-attention guidance calls the UNet once more, with every row labelled cond."""
    host = Host(monkeypatch, forge=forge)
    host.steps_without_uncond = without_uncond
    extra: list[tuple[Tensor, Tensor, Tensor]] = []

    def guidance(denoiser: Any, x: Tensor, timesteps: Tensor, cond: Any) -> None:
        x = x + 0.1 * noise(*x.shape, seed=5)
        more = {}
        if forge:
            more["transformer_options"] = {
                "cond_or_uncond": [COND], "cond_mark": torch.zeros(len(x)), "cond_indices": [0], "uncond_indices": [],
            }  # fmt: skip
        extra.append((x, timesteps, host.unet(x, timesteps, context=cond[0], **more)))

    host.after_unet = guidance
    with inner_rows(host.unet) as rows:
        p, (picture,) = host.request(True)
    plan = plan_of(host, p)
    for x, timesteps, out in extra:
        with torch.no_grad(), fs.attach(host.unet, plan, rows=None):
            torch.testing.assert_close(out, host.unet(x, timesteps, context=p.words.cond), atol=TOLERANCE, rtol=0)
    usual = [(1 if i in without_uncond else 2) + weak for i, weak in enumerate(WITH_WEAK)]
    assert rows == [n for i in range(3) for n in (usual[i], 1)]
    check(host, picture, expected(host, p, without_uncond=without_uncond))
    assert p.comments == {}


def twice(x: Tensor) -> Tensor:
    """Two "tiles" of the whole picture's size, the rows of the first before those of the second."""
    return torch.cat([x, x.roll(4, dims=3)])


def once(x: Tensor) -> Tensor:
    first, second = x.chunk(2)
    return (first + second.roll(-4, dims=3)) / 2


def tiled(unet: Any, x: Tensor, timesteps: Tensor, text: Tensor, **more: Any) -> Tensor:
    return once(unet(twice(x), timesteps.repeat(2), context=text.repeat(2, 1, 1), **more))


@pytest.mark.parametrize("forge", [False, True])
def test_tiles_in_tile_major_order_get_no_weak_rows(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)

    def around(unet: Any, x: Tensor, timesteps: Tensor, call: dict[str, Any]) -> Tensor:
        options = {"cond_or_uncond": call["transformer_options"]["cond_or_uncond"]}
        return tiled(unet, x, timesteps, call["context"], transformer_options=options)

    host.around_unet = around
    if not forge:
        host.main_model.apply_model = lambda x, t, text, vector: tiled(host.unet, x, t, text)
    with inner_rows(host.unet) as rows:
        p, (picture,) = host.request(True)
    assert rows == [4] * 3
    x, plan = p.latent(), plan_of(host, p)
    for timestep in TIMESTEPS:
        with torch.no_grad(), fs.attach(host.unet, plan, rows=None):
            rows_in = x.repeat(2, 1, 1, 1)
            out = tiled(host.unet, rows_in, torch.full((2,), timestep), join([p.words.uncond, p.words.cond]))
        x = x - STEP * (out[:1] + p.cfg_scale * (out[1:] - out[:1]))
    check(host, picture, x)
    (comment,) = p.comments
    assert comment.startswith("FouriScale left the guidance out: ")
    assert "more rows than announced" in comment


def test_small_tiles_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)

    def halves(x: Tensor, timesteps: Tensor, text: Tensor, vector: Tensor | None) -> Tensor:
        rows = torch.cat(x.chunk(2, dim=3))
        out = host.unet(rows, timesteps.repeat(2), context=text.repeat(2, 1, 1))
        return torch.cat(out.chunk(2), dim=3)

    host.main_model.apply_model = halves
    with pytest.warns(UserWarning, match=r"planned for 256×64 pixels .* \(128×64 pixels\): left plain"):
        p, (picture,) = host.request(True)
    host.main_model.apply_model = halves
    _, (plain,) = host.request(False)
    check(host, picture, plain)
    reason = (
        "every UNet call in which it should act had another size than planned (128×64 instead of 256×64 pixels), "
        "as in tiled sampling"
    )
    assert list(p.comments) == [f"FouriScale had no effect, because {reason}"]
    assert p.extra_generation_params == {"FouriScale had no effect": reason}
    last = host.module.REPORT.last
    assert (last["active"], last["reason"], last["unet_calls"]) == (False, reason, 0)
    assert (last["calls"]["other_size"], last["calls"]["beyond"]) == (2, 1)


# --- amplified guidance needs to know which rows belong together ------------------------------------------------------

UNEVEN = {"weights": ((0.5, 0.4, 0.3), (1.0,))}
AMPLIFIED = {"amp_guidance": 2.4}


def doubled_scale(host: Host, p: Processing) -> Tensor:
    """The plain computation with a CFG scale that is 2.4 times larger in the first step, the only one before start."""
    plan = plan_of(host, p)
    first = three_rows(host.unet, plan, p.latent(), p.words, scale=2.4 * p.cfg_scale, stop=1)
    usual = three_rows(host.unet, plan, p.latent(), p.words, scale=p.cfg_scale, stop=1)
    assert largest(first - usual) > 100 * TOLERANCE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("webui_unets.TIMESTEPS", TIMESTEPS[1:])
        return three_rows(host.unet, plan, first, p.words, scale=p.cfg_scale)


CALLS: list[Any] = [
    pytest.param(False, UNEVEN, id="a1111-3-and-1"),
    pytest.param(False, AND, id="a1111-2-and-2"),
    pytest.param(True, AND, id="forge-2-and-2"),
    pytest.param(True, {"weights": ((1.0,), (1.0,))}, id="forge-batch-2"),
]


@pytest.mark.parametrize(("forge", "prompts"), CALLS)
def test_amplified_guidance_takes_each_pictures_own_negative_prompt(
    monkeypatch: pytest.MonkeyPatch, forge: bool, prompts: dict[str, Any]
) -> None:
    host = Host(monkeypatch, "sd15", forge)
    p, (picture,) = host.request(AMPLIFIED, prompts=words("sd15", **prompts))
    check(host, picture, doubled_scale(host, p))
    assert p.comments == {}


@pytest.mark.parametrize(
    ("forge", "prompts", "flags", "calls"),
    [
        (False, UNEVEN, {"batch_cond_uncond": False}, "2 of 9"),
        (False, {"weights": ((0.6, 0.5), (1.0,))}, {"batch_cond_uncond": False}, "2 of 9"),
        (True, {"weights": ((0.5, 0.4, 0.3),)}, {"room": 2}, "2 of 6"),  # uncond with one part, then the others
    ],
)
def test_rows_in_several_calls_are_not_amplified_and_said(
    monkeypatch: pytest.MonkeyPatch, forge: bool, prompts: dict[str, Any], flags: dict[str, Any], calls: str
) -> None:
    host = Host(monkeypatch, "sd15", forge)
    for name, value in flags.items():
        setattr(host, name, value)
    p, (picture,) = host.request(AMPLIFIED, prompts=words("sd15", **prompts))
    check(host, picture, expected(host, p))
    (comment,) = p.comments
    assert comment.startswith(f"FouriScale amplified or damped guidance had no effect in {calls} UNet calls")


def test_parts_that_the_host_does_not_tell_are_not_amplified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fouriscale.hosts.webui.rows.and_parts", lambda denoiser: None)
    host = Host(monkeypatch, "sd15")
    p, (picture,) = host.request(AMPLIFIED, prompts=words("sd15", **UNEVEN))
    check(host, picture, expected(host, p))
    (comment,) = p.comments
    assert comment.startswith("FouriScale amplified or damped guidance had no effect in 1 of 3 UNet calls, as")


@pytest.mark.parametrize("extra", [None, {}, {"cond": 3}, {"cond": SimpleNamespace(batch=[1.0])}])
def test_denoisers_that_keep_no_prompts(extra: Any) -> None:
    assert and_parts(None) is and_parts(SimpleNamespace(sampler=None)) is None
    assert and_parts(SimpleNamespace(sampler=SimpleNamespace(sampler_extra_args=extra))) is None


# --- ControlNet and patches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize(
    ("forge", "flags"), [(False, {}), (False, {"batch_cond_uncond": False}), (True, {}), (True, {"room": 1})]
)
def test_controlnet_follows(monkeypatch: pytest.MonkeyPatch, family: str, forge: bool, flags: dict[str, Any]) -> None:
    host = Host(monkeypatch, family, forge)
    for name, value in flags.items():
        setattr(host, name, value)
    control = Control(host.unet, SIZES[host.family])
    if forge:
        host.main_model.original.unet.controlnet_linked_list = control
        p, (picture,) = host.request(True)
    else:
        with control.instead_of_forward(host.unet):
            p, (picture,) = host.request(True)
    without = expected(host, p)
    with control.instead_of_forward(host.unet):
        check(host, picture, expected(host, p))
    assert largest(picture - without) > 1000 * TOLERANCE


def test_residual_lists_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """The UNet pops residuals from their lists; the host's own lists keep them."""
    host = Host(monkeypatch, forge=True)
    control = Control(host.unet, SIZES[host.family])
    given_lists: list[tuple[dict[str, list[Tensor]], dict[str, int]]] = []

    def around(unet: Any, x: Tensor, timesteps: Tensor, call: dict[str, Any]) -> Tensor:
        given_lists.append((call["control"], {k: len(v) for k, v in call["control"].items()}))
        return unet(x, timesteps, **call)

    host.around_unet = around
    host.main_model.original.unet.controlnet_linked_list = control
    host.request(True)
    assert host.errors == []
    first, before = given_lists[0]
    assert {k: len(v) for k, v in first.items()} == before
    assert all(len(tensor) == 2 for stack in first.values() for tensor in stack)


@pytest.mark.parametrize("key", ["block_inner_modifiers", "block_modifiers", "patches"])
def test_other_extensions_see_as_many_rows_as_announced(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    host = Host(monkeypatch, forge=True)
    seen = []

    def look(x: Tensor, when: str, layer: Any, index: int, block: Any, options: dict[str, Any]) -> Tensor:
        seen.append((len(x), len(options["cond_mark"])))
        return x

    options: dict[str, Any] = {"block_inner_modifiers": [look]}
    if key != "block_inner_modifiers":
        options[key] = {"input_block_patch": [look]} if key == "patches" else [look]
    host.main_model.original.unet.model_options = {"transformer_options": options}
    p, (picture,) = host.request(True)
    check(host, picture, expected(host, p))
    assert {x for x, _ in seen} == {2, 3}
    assert all(x == announced for x, announced in seen)


def test_memory_for_the_weak_rows_is_asked_for_once_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, forge=True)
    host.request(True, size=(8, 16), hires=(8, 32), prompts=words(weights=((1.0,), (1.0,))))
    patcher = host.main_model.forge_objects.unet
    assert patcher.extra_preserved_memory_during_sampling == 4 * (2 * 4 * 8 * 32)
    assert host.main_model.original.unet.extra_preserved_memory_during_sampling == 0
    host.request({"guidance": False})
    assert host.main_model.forge_objects.unet.extra_preserved_memory_during_sampling == 0


# --- SDXL's size conditioning ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [5, 6])
@pytest.mark.parametrize("base", [(1024, 1024), (1408, 704), (512, 2048)])
def test_vector_says_the_base_size(numbers: int, base: tuple[int, int]) -> None:
    y = noise(3, 1280 + 256 * numbers)
    changed = with_size(y, base)
    # float32 angles of up to 2048 are good to about 1e-4.
    torch.testing.assert_close(changed, size_vector(y, base, numbers == 6), atol=5e-4, rtol=0)
    assert torch.equal(changed[:, :1280], y[:, :1280])
    width, height = base
    values = torch.tensor([height, width, 0, 0, height, width][: 6 if numbers == 6 else 4])
    diffusers = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)(values).flatten()
    torch.testing.assert_close(changed[:, 1280 : 1280 + len(diffusers)], diffusers.expand(3, -1), atol=1e-5, rtol=0)
    assert torch.equal(changed[:, 1280 + len(diffusers) :], y[:, 1280 + len(diffusers) :])  # the aesthetic score


@pytest.mark.parametrize("width", [8, 1024, 2048, 1280 + 256 * 4, 1280 + 256 * 5 + 1])
def test_other_vectors_are_left_alone(width: int) -> None:
    y = noise(2, width)
    assert torch.equal(with_size(y, (1024, 1024)), y)


def test_vector_keeps_its_precision() -> None:
    y = noise(2, 2816).half()
    changed = with_size(y, (1024, 1024))
    assert changed.dtype == torch.float16
    torch.testing.assert_close(changed.float(), size_vector(y.float(), (1024, 1024)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("forge", [False, True])
@pytest.mark.parametrize("wanted", [True, False])
def test_unet_is_told_the_base_size(monkeypatch: pytest.MonkeyPatch, forge: bool, wanted: bool) -> None:
    host = Host(monkeypatch, "sdxl", forge)
    told: list[Tensor] = []
    hook = host.unet.label_emb.register_forward_pre_hook(lambda module, args: told.append(args[0].clone()))
    p, _ = host.request({"size_conditioning": wanted}, size=(16, 24))
    hook.remove()
    base = fs.plan(host.unet, 192, 128).base
    assert base == (72, 48)
    own = [text_and_vector(side)[1] for side in (p.words.uncond, p.words.cond)]
    rows = [own[0], own[1], own[1]] if forge else [own[1], own[0], own[1]]
    for step, y in enumerate(told):
        given_rows = join(rows if WITH_WEAK[step] else rows[:2])
        assert given_rows is not None
        torch.testing.assert_close(y, size_vector(given_rows, base) if wanted else given_rows, atol=1e-4, rtol=0)


# --- the labels by themselves ----------------------------------------------------------------------------------------


class Recorder:
    """Stands where the session does."""

    rows: tuple[str, ...] | None = None

    def label(self, labels: Sequence[str] | None, samples: Sequence[int | None] | None = None) -> None:
        self.rows = None if labels is None else tuple(labels)

    def is_planned(self, latent: torch.Tensor) -> bool:
        return True


@given(cond=st.integers(1, 12), uncond=st.integers(0, 6), cuts=st.sets(st.integers(1, 17)))
@settings(deadline=None)
def test_any_split_gets_the_labels_in_order(cond: int, uncond: int, cuts: set[int]) -> None:
    adapter, session, total = A1111Rows(), Recorder(), cond + uncond
    adapter.start(cond, total)
    edges = [0, *sorted(cut for cut in cuts if cut < total), total]
    seen: list[str] = []
    for a, b in pairwise(edges):
        adapter.before(session, (torch.zeros(b - a, 4, 2, 2),), {})  # type: ignore[arg-type]
        assert session.rows is not None
        seen += session.rows
    assert seen == ["cond"] * cond + ["uncond"] * uncond
    adapter.before(session, (), {"x": torch.zeros(1, 4, 2, 2)})  # type: ignore[arg-type]
    assert session.rows is None
