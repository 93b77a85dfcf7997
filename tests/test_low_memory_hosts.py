"""Low memory in the WebUIs: two UNet calls in which everything that counts rows says what is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fouriscale as fs
from fouriscale.hooks import count_hooks
from fouriscale.hooks.rows import RowMap, join_tensors
from fouriscale.hosts.webui.rows import ForgeRows
from test_rows import residual_shapes
from unets import build, inputs, largest, noise, run, traces
from webui_standin import COND, UNCOND, Host, words
from webui_unets import Control, failing, inner_rows

TOLERANCE = 1e-5
AND = {"weights": ((0.6, 0.5), (0.6, 0.5))}


def pictures(host: Host, args: dict[str, Any], **more: Any) -> tuple[Tensor, list[int]]:
    """The picture, and how many rows each UNet call had inside."""
    with inner_rows(host.unet) as rows:
        p, (picture,) = host.request(args, **more)
    assert (host.errors, count_hooks(host.unet)) == ([], 0)
    assert "FouriScale" in p.extra_generation_params
    return picture, rows


CASES: list[Any] = [
    # prompts, flags, rows inside: as one call, and in low memory. Three steps: dilated, annealed, plain.
    pytest.param({}, {}, [3, 3, 2], [2, 1, 2, 1, 2], id="one"),
    pytest.param(AND, {}, [10, 10, 6], [8, 2, 8, 2, 6], id="and-batch-2"),
    pytest.param({"weights": ((1.0,), (1.0,))}, {}, [6, 6, 4], [4, 2, 4, 2, 4], id="batch-2"),
    pytest.param({"weights": ((0.7, 0.4),)}, {}, [5, 5, 3], [4, 1, 4, 1, 3], id="and"),
]


@pytest.mark.parametrize(("prompts", "flags", "one", "two"), CASES)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("forge", [False, True])
def test_the_same_picture(
    monkeypatch: pytest.MonkeyPatch, forge: bool, family: str, prompts: dict[str, Any], flags: dict[str, Any],
    one: list[int], two: list[int],
) -> None:  # fmt: skip
    host = Host(monkeypatch, family, forge)
    said = words(family, **prompts)
    whole, rows = pictures(host, {}, prompts=said)
    split, fewer = pictures(host, {"low_memory": True}, prompts=said)
    torch.testing.assert_close(split, whole, atol=TOLERANCE, rtol=0)
    assert (rows, fewer) == (one, two)


@pytest.mark.parametrize(
    ("prompts", "rows"),
    [
        ({}, [3, 2, 2]), (AND, [10, 6, 6]), ({"weights": ((1.0,), (1.0,))}, [6, 4, 4]),
        ({"weights": ((0.7, 0.4),)}, [5, 3, 3]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("forge", [False, True])
def test_fast_mode_has_no_weak_rows_in_the_second_step(
    monkeypatch: pytest.MonkeyPatch, forge: bool, prompts: dict[str, Any], rows: list[int]
) -> None:
    host = Host(monkeypatch, "sdxl", forge)
    said = words("sdxl", **prompts)
    exact, _ = pictures(host, {}, prompts=said)
    fast, found = pictures(host, {"fast": True}, prompts=said)
    assert found == rows
    assert largest(fast - exact) > 100 * TOLERANCE
    again, same = pictures(host, {"fast": True}, prompts=said)  # nothing is left over from the picture before
    assert same == rows
    assert torch.equal(again, fast)


@pytest.mark.parametrize("args", [{"amp_guidance": 2.4}, {"method": "scalecrafter"}, {"fast": True}])
@pytest.mark.parametrize("forge", [False, True])
def test_beside_the_other_switches(monkeypatch: pytest.MonkeyPatch, forge: bool, args: dict[str, Any]) -> None:
    host = Host(monkeypatch, forge=forge)
    said = words(**AND)
    whole, _ = pictures(host, args, prompts=said)
    split, _ = pictures(host, {**args, "low_memory": True}, prompts=said)
    torch.testing.assert_close(split, whole, atol=10 * TOLERANCE, rtol=0)
    without, _ = pictures(host, {}, prompts=said)
    assert largest(whole - without) > 100 * TOLERANCE


@pytest.mark.parametrize("forge", [False, True])
def test_controlnet(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    control = Control(host.unet, (8, 32))
    results = [pictures(host, {})[0]]
    for args in ({}, {"low_memory": True}):
        if forge:
            host.main_model.original.unet.controlnet_linked_list = control
            results.append(pictures(host, args)[0])
        else:
            with control.instead_of_forward(host.unet):
                results.append(pictures(host, args)[0])
    torch.testing.assert_close(results[1], results[2], atol=TOLERANCE, rtol=0)
    assert largest(results[0] - results[1]) > 100 * TOLERANCE


# --- what the UNet is told on Forge ----------------------------------------------------------------------------------


@contextmanager
def told(unet: Any) -> Iterator[list[dict[str, Any]]]:
    """The keyword arguments of each UNet call, as the UNet gets them."""
    calls: list[dict[str, Any]] = []
    real = unet.forward

    def forward(x: Tensor, timesteps: Tensor, **kwargs: Any) -> Tensor:
        control = kwargs.get("control") or {}
        calls.append({**kwargs, "x": x, "control": {k: list(v) for k, v in control.items()}, "own": control})
        return real(x, timesteps, **kwargs)

    unet.forward = forward
    yield calls
    del unet.forward


@pytest.mark.parametrize("pictures_", [1, 2])
def test_every_count_of_rows_is_that_of_its_call(monkeypatch: pytest.MonkeyPatch, pictures_: int) -> None:
    host = Host(monkeypatch, forge=True)
    control = Control(host.unet, (8, 32))
    host.main_model.original.unet.controlnet_linked_list = control
    with told(host.unet) as calls:
        pictures(host, {"low_memory": True}, prompts=words(weights=((1.0,),) * pictures_))
    first, second = calls[:2]
    n = pictures_
    for call, marks, cond, uncond in (
        (first, [COND, COND], list(range(2 * n)), []),
        (second, [UNCOND], [], list(range(n))),
    ):
        options, rows = call["transformer_options"], n * len(marks)
        assert len(options["cond_or_uncond"]) in (1, len(marks))
        assert set(options["cond_or_uncond"]) == set(marks)
        assert options["cond_mark"].tolist() == [float(mark) for mark in marks for _ in range(n)]
        assert (options["cond_indices"], options["uncond_indices"]) == (cond, uncond)
        assert len(call["x"]) == len(call["context"]) == rows
        # The residuals depend on the row's latent: they are those of these very rows.
        *skips, middle = control.residuals(call["x"])
        assert [t.shape for t in call["control"]["output"]] == [t.shape for t in skips]
        for given, expected in zip(
            [*call["control"]["output"], call["control"]["middle"][0]], [*skips, middle], strict=True
        ):
            assert torch.equal(given, expected)
    # A call of its own, a list of its own: the first call pops nothing from the second.
    assert first["own"]["output"] is not second["own"]["output"]
    assert first["transformer_options"] is not second["transformer_options"]
    if n == 1:
        assert torch.equal(first["x"][0], first["x"][1])


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt("stop")], ids=["error", "interrupt"])
@pytest.mark.parametrize("forge", [False, True])
def test_an_error_in_any_call_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, forge: bool, error: BaseException, call: int
) -> None:
    host = Host(monkeypatch, forge=forge)
    expected, _ = pictures(host, {"low_memory": True})
    clean = traces(host.unet)
    with failing(host.unet, error, call), pytest.raises(type(error)):
        host.request({"low_memory": True})
    host.request(False)  # the host asks again; the first thing that happens is that hooks come off
    assert count_hooks(host.unet) == 0
    assert traces(host.unet) == clean
    again, _ = pictures(host, {"low_memory": True})
    assert torch.equal(again, expected)


# --- other arguments and outputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels", [("uncond", "cond"), ("cond", "uncond"), ("cond", "uncond", "cond", "cond", "uncond")]
)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_residuals_and_tuples(family: str, labels: tuple[str, ...]) -> None:
    """A ControlNet's residuals of diffusers, as keyword arguments."""
    unet, rows = build(family), len(labels)
    call = inputs(family, rows, 20, 20)
    shapes = residual_shapes(unet, 20, 20)
    call["down_block_additional_residuals"] = tuple(noise(rows, *s, seed=i) for i, s in enumerate(shapes))
    call["mid_block_additional_residual"] = noise(rows, *shapes[-1], seed=99)
    plans = [fs.plan(unet, 160, 160, fs.Settings(low_memory=low, base=(64, 64))) for low in (False, True)]
    whole, split = (run(unet, call, plan, labels) for plan in plans)
    torch.testing.assert_close(split, whole, atol=TOLERANCE, rtol=0)
    with torch.no_grad(), fs.attach(unet, plans[1], rows=labels) as session:
        session.progress = (0, 50)
        (again,) = unet(**call, return_dict=False)
        assert (session.calls, len(session.history)) == (1, 1)
    assert torch.equal(again, split)


def test_tensors_of_other_lengths_reach_both_calls_as_they_are() -> None:
    """With one cond row a call has one row of its own for a moment; a tensor of one row is not a row."""
    unet = build("sd15")
    plan = fs.plan(unet, 160, 160, fs.Settings(low_memory=True))
    seen: list[dict[str, Any]] = []
    session = fs.attach(unet, plan)
    session.progress = (0, 50)
    extra = {"one": torch.ones(1, 3), "three": torch.ones(3), "two": torch.arange(2.0), "scalar": torch.tensor(1.0)}

    def before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        seen.append(kwargs.pop("extra"))
        return args, kwargs

    handle = unet.register_forward_pre_hook(before, with_kwargs=True)
    with torch.no_grad():
        unet(**inputs("sd15", 2, 20, 20), extra=extra)
    handle.remove()
    session.close()
    assert [call["two"].tolist() for call in seen] == [[1.0, 1.0], [0.0]]
    for call in seen:
        assert all(call[name] is extra[name] for name in ("one", "three", "scalar"))


def test_marks_are_remade_for_any_choice_of_rows() -> None:
    options = {
        "cond_or_uncond": [UNCOND, COND], "cond_indices": [2, 3], "uncond_indices": [0, 1], "patches": {}, "sigmas": 1,
    }  # fmt: skip
    for origin, marks, cond, uncond in (
        ([2, 3, 2, 3], [COND, COND], [0, 1, 2, 3], []),
        ([0, 1], [UNCOND], [], [0, 1]),
        ([0, 1, 2, 3, 2, 3], [UNCOND, COND, COND], [2, 3, 4, 5], [0, 1]),
    ):
        _, kwargs = ForgeRows().regrouped(4, origin, (), {"transformer_options": options})
        remade = kwargs["transformer_options"]
        assert set(remade["cond_or_uncond"]) == set(marks)
        assert (remade["cond_indices"], remade["uncond_indices"]) == (cond, uncond)
        assert (remade["patches"], remade["sigmas"]) == ({}, 1)
    assert options["cond_or_uncond"] == [UNCOND, COND]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("labels", [("uncond", "cond"), ("cond", "uncond", "cond", "cond"), ("cond", "cond", "uncond")])
def test_damped_guidance(family: str, labels: tuple[str, ...]) -> None:
    unet = build(family)
    call = inputs(family, len(labels), 16, 32)
    rows: list[int] = []
    whole, split = (
        run(unet, call, fs.plan(unet, 256, 128, fs.Settings(method="scalecrafter", low_memory=low)), labels)
        for low in (False, True)
    )
    torch.testing.assert_close(split, whole, atol=TOLERANCE, rtol=0)
    unet.conv_in.register_forward_pre_hook(lambda m, args: rows.append(len(args[0])))
    unet.conv_out.register_forward_pre_hook(lambda m, args: rows.append(len(args[0])))
    run(unet, call, fs.plan(unet, 256, 128, fs.Settings(method="scalecrafter", low_memory=True)), labels)
    uncond = labels.count("uncond")
    assert rows[1::2] == [2 * uncond, len(labels) - uncond]


@pytest.mark.parametrize("container", ["tensor", "tuple", "list", "dict"])
def test_outputs_of_any_form_are_joined(container: str) -> None:
    rows = RowMap(3, (0, 2))
    first, second = torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([[1.0]])
    make = {
        "tensor": lambda x: x, "tuple": lambda x: (x, None), "list": lambda x: [x], "dict": lambda x: {"sample": x},
    }[container]  # fmt: skip
    order = [0, 4, 1, 2, 3]
    joined = join_tensors(make(first), make(second), 4, lambda a, b: torch.cat((a, b))[order])
    expected = make(rows.append(torch.tensor([[0.0], [1.0], [2.0]])) + torch.tensor([[0.0]] * 3 + [[10.0]] * 2))
    flat = [x["sample"] if container == "dict" else x if container == "tensor" else x[0] for x in (joined, expected)]
    assert torch.equal(flat[0], flat[1])
    assert type(joined) is type(expected)
