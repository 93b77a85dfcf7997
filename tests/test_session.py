"""The life of the hooks: whatever happens, nothing is left on the UNet, and outside a forward nothing shows."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fouriscale as fs
from fouriscale.filters.cache import FilterCache
from fouriscale.hooks import count_hooks, session_on
from fouriscale.hooks.call import Call
from fouriscale.hooks.convolution import ConvHook
from fouriscale.hooks.current import CurrentCall
from fouriscale.hooks.rows import RowMap
from fouriscale.lab import naive
from fouriscale.unet.structure import Layer
from ldm_unets import ldm_inputs, to_ldm
from unets import BASE, build, inputs, largest, noise, run, traces

PX = 160
LATENT = PX // 8
XL_BASE = fs.Settings(base=(BASE, BASE))
HOOK_DICTS = (
    "_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)  # fmt: skip
CONV_ATTRIBUTES = ("dilation", "padding", "padding_mode", "_reversed_padding_repeated_twice")


def set_up(family: str = "sd15", px: int = PX) -> tuple[Any, fs.Plan, dict[str, Any]]:
    """A UNet, a plan that dilates by 3, and a call with the rows uncond and cond."""
    unet = build(family)
    return unet, fs.plan(unet, px, px, XL_BASE), inputs(family, 2, px // 8, px // 8)


def conv_attributes(unet: nn.Module) -> dict[str, Any]:
    return {
        f"{path}.{name}": getattr(module, name)
        for path, module in unet.named_modules()
        if isinstance(module, nn.Conv2d)
        for name in CONV_ATTRIBUTES
    }


# --- nothing is left -------------------------------------------------------------------------------------------------


def test_traces_see_every_kind_of_change() -> None:
    """The comparison that the tests below rely on."""
    unet = build("sd15")
    before = traces(unet)
    assert before == traces(unet)
    for name in HOOK_DICTS:
        assert f"mid_block:{name}" in before
    conv = unet.mid_block.resnets[0].conv1
    conv.dilation = (2, 2)
    assert traces(unet) != before
    conv.dilation = (1, 1)
    assert traces(unet) == before
    handle = conv.register_forward_hook(lambda *_: None, always_call=True)
    assert traces(unet) != before
    handle.remove()
    assert traces(unet) == before
    conv._reversed_padding_repeated_twice = list(conv._reversed_padding_repeated_twice)
    assert (traces(unet) == before) == isinstance(
        before["mid_block.resnets.0.conv1:_reversed_padding_repeated_twice"][0], list
    )


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("step", [0, 33])
def test_no_trace_after_success(family: str, step: int) -> None:
    unet, plan, call = set_up(family)
    plain = run(unet, call)
    before = traces(unet)
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (step, 50)
        assert session.hooks > 2 * len(plan.layers)
        assert session.hooks == count_hooks(unet)
        attached = traces(unet)
        assert attached != before
        for _ in range(2):
            unet(**call)
            assert traces(unet) == attached
    assert session.closed
    assert session.hooks == count_hooks(unet) == 0
    assert traces(unet) == before
    assert torch.equal(run(unet, call), plain)


class Bomb:
    """A hook of somebody else's that raises while armed, before or after a module's forward."""

    def __init__(self, module: nn.Module, before: bool):
        self.error: BaseException | None = None
        (module.register_forward_pre_hook if before else module.register_forward_hook)(self)

    def __call__(self, *_: object) -> None:
        if self.error is not None:
            raise self.error


BOMB_PLACES = [
    ("mid_block.resnets.0.conv2", True),
    ("mid_block.resnets.0.conv2", False),
    ("down_blocks.1.resnets.1", True),
    ("up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", False),
    ("conv_out", True),
    ("", True),
    ("", False),
]


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), KeyboardInterrupt("stop"), SystemExit(1)], ids=["error", "interrupt", "exit"]
)
@pytest.mark.parametrize(("place", "before"), BOMB_PLACES)
@pytest.mark.parametrize(("family", "step"), [("sd15", 0), ("sdxl", 33)])
def test_no_trace_after_an_error(family: str, step: int, place: str, before: bool, error: BaseException) -> None:
    unet, plan, call = set_up(family)
    bomb = Bomb(unet.get_submodule(place), before)
    clean = traces(unet)
    expected = run(unet, call, plan, progress=(step, 50))
    session = fs.attach(unet, plan)
    session.progress = (step, 50)
    attached, originals = traces(unet), conv_attributes(unet)
    bomb.error = error
    with pytest.raises(type(error)), torch.no_grad():
        unet(**call)
    if isinstance(error, Exception):
        # Already before anybody closes the session.
        assert conv_attributes(unet) == originals
        assert traces(unet) == attached
        conv, x = unet.mid_block.resnets[1].conv1, noise(2, 16, 3, 3)
        assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1))
    bomb.error = None
    with torch.no_grad():
        assert torch.equal(unet(**call).sample, expected)
        assert traces(unet) == attached
        bomb.error = error
        with pytest.raises(type(error)):
            unet(**call)
    session.close()
    assert traces(unet) == clean


def test_interrupt_leaves_a_with_block_clean() -> None:
    unet, plan, call = set_up()
    bomb = Bomb(unet.mid_block.resnets[1].conv1, True)
    before = traces(unet)
    bomb.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), torch.no_grad(), fs.attach(unet, plan):
        unet(**call)
    assert traces(unet) == before


@pytest.mark.parametrize("error", [RuntimeError("ours"), KeyboardInterrupt("ours")], ids=["error", "interrupt"])
def test_no_trace_after_an_error_in_our_own_hooks(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    unet, plan, call = set_up()
    before = traces(unet)
    get, made = FilterCache.get, []

    def failing(cache: FilterCache, *args: Any) -> Any:
        made.append(args)
        if len(made) == 5:
            raise error
        return get(cache, *args)

    monkeypatch.setattr(FilterCache, "get", failing)
    with pytest.raises(type(error), match="ours"), torch.no_grad(), fs.attach(unet, plan):
        unet(**call)
    assert len(made) == 5
    assert traces(unet) == before


@pytest.mark.parametrize("failing", [1, 2, 20, 60])
def test_no_trace_when_attaching_fails_half_way(failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unet, plan, call = set_up()
    before = traces(unet)
    outer = fs.attach(unet, plan)
    outer.progress = (0, 50)
    expected = run_attached(unet, call)
    register, calls = nn.Module.register_forward_pre_hook, []

    def register_some(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        calls.append(module)
        if len(calls) == failing:
            raise MemoryError
        return register(module, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "register_forward_pre_hook", register_some)
        with pytest.raises(MemoryError):
            fs.attach(unet, plan)
    assert torch.equal(run_attached(unet, call), expected)
    outer.close()
    assert traces(unet) == before


def test_attributes_are_original_while_other_layers_run() -> None:
    """A convolution is dilated during its own forward and at no other moment."""
    unet, plan, call = set_up()
    originals = conv_attributes(unet)
    hooked = {layer.path for layer in plan.layers}
    moments: list[tuple[str, set[str]]] = []

    def look(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            now = conv_attributes(unet)
            moments.append((name, {key for key in now if now[key] != originals[key]}))

        return hook

    handles = [
        module.register_forward_pre_hook(look(path)) for path, module in unet.named_modules()
        if isinstance(module, nn.GroupNorm) or path.endswith(("attn1", "conv_in", "conv_out"))
    ]  # fmt: skip
    with torch.no_grad(), fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        inside = {path: look(path) for path in hooked}
        handles += [unet.get_submodule(path).register_forward_pre_hook(hook) for path, hook in inside.items()]
        unet(**call)
        assert conv_attributes(unet) == originals
    for handle in handles:
        handle.remove()
    assert len(moments) > len(hooked) + 20
    for name, changed in moments:
        names = ("dilation", "padding", "_reversed_padding_repeated_twice")
        assert changed == ({f"{name}.{attribute}" for attribute in names} if name in hooked else set())


def test_a_closed_session_lets_go_of_the_unet() -> None:
    unet, plan, call = set_up()
    with torch.no_grad(), fs.attach(unet, plan) as session:
        unet(**call)
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None


# --- attaching again, and twice --------------------------------------------------------------------------------------


def run_attached(unet: nn.Module, call: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return unet(**call).sample


def test_closing_twice_and_attaching_again() -> None:
    unet, plan, call = set_up()
    before = traces(unet)
    expected = run(unet, call, plan)
    session = fs.attach(unet, plan)
    session.progress = (0, 50)
    hooks = session.hooks
    assert session.attach() is session
    assert session.hooks == hooks == count_hooks(unet)
    assert torch.equal(run_attached(unet, call), expected)
    session.close()
    session.close()
    assert traces(unet) == before
    assert session.attach().hooks == 0  # a closed session stays closed
    assert traces(unet) == before
    assert torch.equal(run(unet, call, plan), expected)


def test_the_inner_of_two_sessions_works_and_the_outer_comes_back() -> None:
    unet, plan, call = set_up()
    other = fs.plan(unet, PX, PX, fs.Settings(dilation=2, layers="mid"))
    before = traces(unet)
    results = [run(unet, call, chosen) for chosen in (plan, other)]
    assert largest(results[0] - results[1]) > 1e-3
    with fs.attach(unet, plan) as outer:
        outer.progress = (0, 50)
        attached = count_hooks(unet)
        with fs.attach(unet, other) as inner:
            inner.progress = (0, 50)
            assert session_on(unet) is inner
            assert (outer.hooks, inner.hooks) == (0, count_hooks(unet))
            assert torch.equal(run_attached(unet, call), results[1])
        assert session_on(unet) is outer
        assert outer.hooks == count_hooks(unet) == attached
        assert torch.equal(run_attached(unet, call), results[0])
    assert session_on(unet) is None
    assert traces(unet) == before


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_sessions_may_be_closed_in_any_order(order: tuple[int, ...]) -> None:
    """The youngest session that is not closed works, and never two at once."""
    unet, _, call = set_up()
    before = traces(unet)
    plans = [fs.plan(unet, PX, PX, fs.Settings(dilation=d)) for d in (2, 3, 4)]
    plain, results = run(unet, call), [run(unet, call, plan) for plan in plans]
    sessions = [fs.attach(unet, plan) for plan in plans]
    for session in sessions:
        session.progress = (0, 50)
    left = [0, 1, 2]
    for index in order:
        assert sessions[left[0]].attach() is sessions[left[0]]  # changes nothing while another is at work
        sessions[index].close()
        left.remove(index)
        expected = results[left[-1]] if left else plain
        assert torch.equal(run_attached(unet, call), expected)
        assert sum(session.hooks > 0 for session in sessions) == (1 if left else 0)
    assert traces(unet) == before


def test_sessions_on_two_unets_do_not_meet() -> None:
    unet, plan, call = set_up()
    other, other_plan = build("sd15", seed=1), fs.plan(build("sd15"), PX, PX, fs.Settings(dilation=2))
    expected = run(unet, call, plan), run(other, call, other_plan)
    with fs.attach(unet, plan) as one, fs.attach(other, other_plan) as two:
        one.progress = two.progress = (0, 50)
        assert torch.equal(run_attached(unet, call), expected[0])
        assert torch.equal(run_attached(other, call), expected[1])


# --- where nothing is to be done -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("px", "changes", "reason"),
    [
        (64, {}, "64×64 is not larger than the 64×64 that the model was trained at"),
        (PX, {"base": (192, 160)}, "160×160 is not larger than the 192×160 that the model was trained at"),
        (PX, {"dilation": 1}, "the dilation is set to 1"),
        (PX, {"stop": 0}, "stop is 0, so that every step is plain"),
    ],
)
def test_plans_that_do_nothing_attach_nothing(px: int, changes: dict[str, Any], reason: str) -> None:
    unet = build("sd15")
    plan = fs.plan(unet, px, px, fs.Settings(**changes))
    assert not plan.active
    assert plan.reason == reason
    assert plan.dilation_at(0.0) == plan.dilation_at((0, 50)) == 1.0
    call = inputs("sd15", 2, px // 8, px // 8)
    before, plain = traces(unet), run(unet, call)
    with fs.attach(unet, plan) as session:
        assert session.hooks == count_hooks(unet) == 0
        assert traces(unet) == before
        assert torch.equal(run_attached(unet, call), plain)
        assert not session.history
    assert traces(unet) == before


@pytest.mark.parametrize("size", [(56, 64), (64, 64), (64, 8)])
def test_latents_at_or_below_the_base_are_bit_identical(size: tuple[int, int]) -> None:
    unet = build("sdxl")
    width, height = max(size[0], 64), max(size[1], 64)
    call = inputs("sdxl", 2, height // 8, width // 8)
    assert torch.equal(run(unet, call, fs.plan(unet, width, height, XL_BASE)), run(unet, call))


@pytest.mark.parametrize(("family", "stop"), [("sd15", 30), ("sdxl", 35)])
def test_bit_identical_after_stop(family: str, stop: int) -> None:
    unet, _, call = set_up(family)
    plan = fs.plan(unet, PX, PX, XL_BASE.replace(stop=stop / 50))
    plain = run(unet, call)
    with fs.attach(unet, plan) as session:
        for step in range(stop, 50, 5):
            session.progress = (step, 50)
            assert torch.equal(run_attached(unet, call), plain)
        assert session.calls == 0
        session.progress = (stop - 1, 50)
        assert largest(run_attached(unet, call) - plain) > 1e-4
        assert session.calls == 1


@pytest.mark.parametrize("latent", [(20, 24), (24, 20), (8, 8)])
def test_calls_of_another_size_warn_and_stay_plain(latent: tuple[int, int]) -> None:
    unet, plan, _ = set_up()
    call = inputs("sd15", 2, *latent)
    plain = run(unet, call)
    height, width = latent
    message = (
        f"^FouriScale was planned for 160×160 pixels but the UNet was called with a latent of {width}×{height} "
        rf"\({8 * width}×{8 * height} pixels\): left plain$"
    )
    with fs.attach(unet, plan) as session:
        session.progress = (0, 50)
        with pytest.warns(UserWarning, match=message):
            result = run_attached(unet, call)
        assert torch.equal(result, plain)
        assert session.calls == 0
        assert largest(run_attached(unet, inputs("sd15", 2, LATENT, LATENT)) - 0) > 0
        assert session.calls == 1


# --- convolutions of other kinds -------------------------------------------------------------------------------------


def hooked(
    conv: nn.Conv2d, dilation: float, rows: RowMap | None = None, family: str = "sd15", role: str = "upsampler"
) -> ConvHook:
    """Hooks on one convolution, in a call with that dilation. Upsamplers are dilated and not filtered."""
    current = CurrentCall()
    method = fs.plan_family(family, 1024, 1024).method
    current.value = Call((0, 50), method, dilation, weak=rows, host=rows)
    hook = ConvHook(Layer("", "", role, 2), current, FilterCache())  # type: ignore[arg-type]
    hook.attach(conv)
    return hook


@pytest.mark.parametrize("dilation", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_circular_padding_is_dilated_too(dilation: int, stride: int) -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1, stride=stride).requires_grad_(False)
    conv.padding_mode = "circular"  # as WebUIs switch tiling on
    x = noise(2, 3, 12, 16)
    plain = conv(x)
    hooked(conv, float(dilation))
    wide = F.pad(x, (dilation,) * 4, mode="circular")
    expected = F.conv2d(wide, conv.weight, conv.bias, stride=stride, dilation=dilation)
    assert expected.shape == plain.shape
    torch.testing.assert_close(conv(x), expected, atol=1e-6, rtol=0)
    assert (conv.dilation, conv.padding, list(conv._reversed_padding_repeated_twice)) == ((1, 1), (1, 1), [1] * 4)


@pytest.mark.parametrize("kind", [nn.Conv2d, type("Patched", (nn.Conv2d,), {})])
def test_zero_padding_and_subclasses(kind: type[nn.Conv2d]) -> None:
    conv = kind(3, 5, 3, padding=1).requires_grad_(False)
    x = noise(2, 3, 12, 16)
    hooked(conv, 2.4)
    expected = F.conv2d(x, conv.weight, conv.bias, padding=3, dilation=3)
    torch.testing.assert_close(conv(x), expected, atol=1e-6, rtol=0)
    assert type(conv) is kind


def test_a_convolution_that_raises_is_restored_at_once() -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1).requires_grad_(False)
    hooked(conv, 2.0)
    with pytest.raises(RuntimeError, match="channels"):
        conv(noise(2, 4, 12, 16))
    assert (conv.dilation, conv.padding) == ((1, 1), (1, 1))


@pytest.mark.parametrize(("dilation", "weak"), [(2.0, 2), (1.5, 1), (3.2, 3)])
def test_weak_rows_of_sdxl_have_a_dilation_of_their_own(dilation: float, weak: int) -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1).requires_grad_(False)
    x = noise(5, 3, 12, 16)
    hooked(conv, dilation, RowMap(3, (0, 2)), "sdxl")
    strong = 4 if dilation > 3 else 2
    expected = torch.cat([
        F.conv2d(x[:3], conv.weight, conv.bias, padding=strong, dilation=strong),
        F.conv2d(x[3:], conv.weight, conv.bias, padding=weak, dilation=weak),
    ])  # fmt: skip
    torch.testing.assert_close(conv(x), expected, atol=1e-6, rtol=0)
    assert (conv.dilation, conv.padding) == ((1, 1), (1, 1))


@pytest.mark.parametrize(("strong", "weak"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.0)])
def test_each_kind_of_row_has_its_own_stopband(strong: float, weak: float) -> None:
    """A stop-band of 1 filters nothing, whatever the other rows do."""
    conv = nn.Conv2d(3, 5, 3, padding=1).requires_grad_(False)
    plan = fs.plan_family("sd15", 1024, 1024, fs.Settings(stopband_strong=strong, stopband_weak=weak))
    current = CurrentCall()
    rows = RowMap(2, (1,))
    current.value = Call((0, 50), plan.method, 2.0, weak=rows, host=rows)
    ConvHook(Layer("", "", "resnet", 2), current, FilterCache()).attach(conv)
    x = noise(3, 3, 32, 32)
    filtered = torch.cat(
        [naive.lowpass(x[:2], 16, 16, 2.0, strong, "strong"), naive.lowpass(x[2:], 16, 16, 2.0, weak, "weak")]
    )
    expected = F.conv2d(filtered, conv.weight, conv.bias, padding=2, dilation=2)
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=0)
    assert largest(filtered - x) > 0.1


def test_hooks_of_others_on_the_same_convolution_see_the_filtered_rows_and_may_change_the_output() -> None:
    unet, plan, call = set_up("sdxl")
    conv = unet.mid_block.resnets[0].conv1
    expected = run(unet, call, plan)
    handle = conv.register_forward_hook(lambda _, args, out: out * 1.0)
    assert torch.equal(run(unet, call, plan), expected)
    handle.remove()
    handle = conv.register_forward_hook(lambda _, args, out: out * 2.0)
    assert largest(run(unet, call, plan) - expected) > 1e-3
    handle.remove()


def test_tiling_unet_runs_and_is_restored() -> None:
    unet, plan, call = set_up()
    convs = [module for module in unet.modules() if isinstance(module, nn.Conv2d)]
    flat = run(unet, call, plan)
    for conv in convs:
        conv.padding_mode = "circular"
    before = traces(unet)
    tiled = run(unet, call, plan)
    assert tiled.isfinite().all()
    assert largest(tiled - flat) > 1e-3
    assert traces(unet) == before


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_half_precision_stays_close_to_float32(family: str, dtype: torch.dtype) -> None:
    unet, plan, call = set_up(family)
    exact, exact_plain = run(unet, call, plan), run(unet, call)

    def cast(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cast(item) for key, item in value.items()}
        return value.to(dtype) if isinstance(value, Tensor) else value

    rough_unet = unet.to(dtype)
    rough, rough_plain = run(rough_unet, cast(call), plan), run(rough_unet, cast(call))
    assert rough.dtype == dtype
    assert rough.isfinite().all()
    # No further from float32 than twice what the plain UNet loses.
    assert largest(rough.float() - exact) < 2 * largest(rough_plain.float() - exact_plain)
    assert largest(rough.float() - exact) < 0.2 * largest(exact - exact_plain)


def test_autocast() -> None:
    unet, plan, call = set_up()
    exact, plain = run(unet, call, plan), run(unet, call)
    with torch.autocast("cpu", torch.bfloat16):
        rough = run(unet, call, plan)
    assert 0 < largest(rough.float() - exact) < 0.2 * largest(exact - plain)


# --- progress --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [int, float, torch.tensor, lambda t: torch.tensor([t, t]), lambda t: torch.tensor([float(t)])]
)
def test_progress_comes_from_the_timesteps(kind: Any) -> None:
    unet, plan, call = set_up()
    assert (plan.start, plan.stop, plan.dilation) == (0.2, 0.6, 3.0)
    timesteps = [999, 900, 799, 600, 500, 399, 0]
    with fs.attach(unet, plan) as session:
        for t in timesteps:
            run_attached(unet, call | {"timestep": kind(t)})
        history = list(session.history)
        assert session.calls == 5
    assert [progress for progress, _ in history] == [1 - t / 999 for t in timesteps]
    falling = [1 + 2 * (0.6 - (1 - t / 999)) / 0.4 for t in (799, 600, 500)]
    assert [dilation for _, dilation in history] == pytest.approx([3.0, 3.0, *falling, 1.0, 1.0])


@pytest.mark.parametrize("by_name", [True, False])
def test_progress_comes_from_the_timesteps_of_an_ldm_unet(by_name: bool) -> None:
    unet = build("sd15")
    twin = to_ldm(unet)
    plan = fs.plan(twin, 192, 128, XL_BASE)
    call = ldm_inputs(unet, inputs("sd15", 2, 16, 24))
    with torch.no_grad(), fs.attach(twin, plan) as session:
        twin(**call) if by_name else twin(*call.values())
        assert list(session.history) == [(1 - 500 / 999, plan.dilation_at(1 - 500 / 999))]
        assert session.history[0][1] > 1.0


def test_timesteps_and_equal_explicit_progress_give_the_same() -> None:
    unet, plan, call = set_up()
    explicit = run(unet, call, plan, progress=1 - 500 / 999)
    assert torch.equal(run(unet, call, plan, progress=None), explicit)
    assert largest(run(unet, call, plan, progress=0.0) - explicit) > 1e-3


def test_explicit_progress_wins_and_is_recorded() -> None:
    unet, plan, call = set_up()
    with fs.attach(unet, plan) as session:
        for progress in ((0, 50), (25, 50), 0.3, (49, 50)):
            session.progress = progress  # type: ignore[assignment]
            run_attached(unet, call)
        assert [entry[0] for entry in session.history] == [(0, 50), (25, 50), 0.3, (49, 50)]
        assert [entry[1] for entry in session.history] == pytest.approx([3.0, 1.5, 2.5, 1.0])
        assert session.calls == 3
        session.history.extend([(0.0, 1.0)] * 2000)
        assert len(session.history) == 1000
    assert session.history  # still there for a report after closing


def test_annealing_uses_a_bounded_number_of_filters() -> None:
    unet, plan, call = set_up()
    with fs.attach(unet, plan) as session:
        for step in range(0, 30):
            session.progress = (step, 50)
            run_attached(unet, call)
        assert 0 < len(session._filters) <= 32
    assert len(session._filters) == 0


def test_plans_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        fs.plan_family("sd15", 1024, 1024).dilation = 1.0  # type: ignore[misc]
