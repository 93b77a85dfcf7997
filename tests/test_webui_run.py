"""The life of a generation: whatever happens, nothing is left on the model, the sampler or the request."""

from __future__ import annotations

import copy
import json
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fouriscale as fs
import fouriscale.hosts.webui.run as run_module
from fouriscale.hooks import count_hooks
from fouriscale.hosts.webui.run import XYZ_ATTRIBUTE
from unets import largest, traces
from webui_standin import TIMESTEPS, Host, Processing, enlarge, parse_infotext
from webui_unets import build_unet, failing, inner_rows, three_rows

HOSTS = pytest.mark.parametrize("forge", [False, True], ids=["a1111", "forge"])
SMALL, WIDE, LARGE = (8, 8), (8, 16), (8, 32)  # latents: the training size, and two above it


def wanted(unet: Any, x: Tensor, p: Processing, plain: bool = False, **more: Any) -> Tensor:
    """The plain computation from `x` on, with or without FouriScale."""
    plan = None if plain else fs.plan(unet if isinstance(unet, nn.Module) else unet(0), 8 * x.shape[3], 8 * x.shape[2])
    return three_rows(unet, plan, x, p.words, p.cfg_scale, **more)


def close_to(picture: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(picture, other, atol=1e-5, rtol=0)


class Watch:
    """What the host looked like before, to compare with what it looks like now."""

    def __init__(self, host: Host, *unets: nn.Module):
        self.host, self.unets = host, unets or (host.unet,)
        self.before = [traces(unet) for unet in self.unets]

    def check(self, p: Processing | None = None) -> None:
        """Nothing is left: not on the UNets, the samplers or the request."""
        assert self.host.errors == []
        assert [count_hooks(unet) for unet in self.unets] == [0] * len(self.unets)
        assert [traces(unet) for unet in self.unets] == self.before
        for sampler in self.host.samplers:
            assert set(vars(sampler)) == {"model_wrap_cfg", "last_latent", "sampler_extra_args"}
        if p is not None:
            assert set(vars(p)) - {XYZ_ATTRIBUTE} == set(vars(Processing(self.host)))


def comment_of(p: Processing) -> str:
    """The request's only comment."""
    assert len(p.comments) == 1, p.comments
    return next(iter(p.comments))


# --- the ends of a generation ----------------------------------------------------------------------------------------


@HOSTS
def test_success(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    p, (picture,) = host.request(True)
    watch.check(p)
    close_to(picture, wanted(host.unet, p.latent(), p))
    assert parse_infotext(host.infotexts[-1])["FouriScale"] == "True"
    assert p.comments == {}


@HOSTS
@pytest.mark.parametrize("at", [0, 1])
def test_interrupt(monkeypatch: pytest.MonkeyPatch, forge: bool, at: int) -> None:
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    host.interrupt_at = at
    p, (picture,) = host.request(True, n_iter=2)
    watch.check(p)
    assert host.events[-2:] == ["postprocess", "close"]
    # The host gives the latent of the last step that began, which is one behind.
    close_to(picture, wanted(host.unet, p.latent(), p, stop=at))
    assert ("FouriScale" in p.extra_generation_params) == (at > 0)


@HOSTS
@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_exception_in_the_unet(monkeypatch: pytest.MonkeyPatch, forge: bool, error: BaseException) -> None:
    """The host calls nothing any more but the request's own `close`."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    seen = []
    monkeypatch.setattr(Processing, "close", lambda p: seen.append(count_hooks(host.unet)))
    p = Processing(host, [True])
    with failing(host.unet, error), pytest.raises(type(error)), closing(p):
        host.process_images(p)
    assert "post_sample" not in host.events
    assert seen == [0]  # gone already when sampling ended
    watch.check(p)


@HOSTS
def test_exception_where_only_close_can_clean_up(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    """The exception comes between the script's event and sampling."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    hooks = []

    def failing_sample(sampler: Any, p: Processing, x: Tensor) -> Tensor:
        hooks.append(count_hooks(host.unet))
        raise RuntimeError

    monkeypatch.setattr("webui_standin.Sampler.sample", failing_sample)
    p = Processing(host, [True])
    with pytest.raises(RuntimeError), closing(p):
        host.process_images(p)
    assert hooks[0] > 0
    assert vars(p.sampler).pop("launch_sampling", None) is None
    watch.check(p)


@HOSTS
@pytest.mark.parametrize("args", [(True,), (False,), ()])
def test_leftovers_go_with_the_next_generation(monkeypatch: pytest.MonkeyPatch, forge: bool, args: Any) -> None:
    """A grid's cells are never closed: what an error left there is removed by the next request, enabled or not."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    with monkeypatch.context() as broken:
        broken.setattr("webui_standin.Sampler.sample", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            host.process_images(Processing(host, [True]))
    assert count_hooks(host.unet) > 0
    del host.samplers[:]
    p, (picture,) = host.request(*args)
    watch.check(p)
    close_to(picture, wanted(host.unet, p.latent(), p, plain=not any(args)))


@HOSTS
def test_leftovers_go_when_the_script_is_unloaded(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    before = traces(host.unet)
    p = Processing(host, [True])
    host.event("process", p)
    host.event("process_before_every_sampling", p, x=p.latent(), noise=None, c=None, uc=None)
    assert count_hooks(host.unet) > 0
    host.call("script_unloaded")
    assert host.errors == []
    assert traces(host.unet) == before


def test_unloading_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.load(None)
    host.call("script_unloaded")
    assert host.errors == []


@HOSTS
@pytest.mark.parametrize("broken", ["plan_for", "attach"])
def test_exception_of_our_own(monkeypatch: pytest.MonkeyPatch, forge: bool, broken: str) -> None:
    """The host would swallow it and show a plain picture without a word."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)

    def bug(*_: Any) -> Any:
        raise LookupError("a bug")

    monkeypatch.setattr(run_module, broken, bug)
    p, (picture,) = host.request(True)
    watch.check(p)
    close_to(picture, wanted(host.unet, p.latent(), p, plain=True))
    assert comment_of(p) == "FouriScale skipped: unexpected LookupError: a bug"
    assert "FouriScale" not in p.extra_generation_params


def test_a_host_that_cannot_reserve_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, forge=True)
    watch = Watch(host)
    monkeypatch.setattr("webui_standin.Patcher.memory_required", lambda *_: 1 / 0)
    p, (picture,) = host.request(True)
    watch.check(p)
    close_to(picture, wanted(host.unet, p.latent(), p, plain=True))
    assert "ZeroDivisionError" in comment_of(p)


@HOSTS
def test_disabled(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    for args in ((), (False,), (False, "no such preset", 7), ({"enabled": False, "typo": 1},)):
        with inner_rows(host.unet) as rows:
            p, _ = host.request(*args)
        assert rows == [2] * len(TIMESTEPS)
        assert (p.comments, p.extra_generation_params) == ({}, {})
    watch.check(p)
    assert host.module.REPORT.last is None


@HOSTS
def test_plain_after_a_run_is_as_before(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    _, (before,) = host.request(False)
    host.request(True)
    _, (after,) = host.request(False)
    assert torch.equal(before, after)


# --- several passes --------------------------------------------------------------------------------------------------


@HOSTS
@pytest.mark.parametrize("img2img", [False, True])
def test_batch_count(monkeypatch: pytest.MonkeyPatch, forge: bool, img2img: bool) -> None:
    """img2img uses one sampler for all iterations."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    p, pictures = host.request(True, n_iter=2, img2img=img2img)
    watch.check(p)
    assert len(host.samplers) == (1 if img2img else 2)
    for iteration, picture in enumerate(pictures):
        close_to(picture, wanted(host.unet, p.latent(iteration), p))
        assert parse_infotext(host.infotexts[iteration])["FouriScale"] == "True"


@HOSTS
@pytest.mark.parametrize(("passes", "first", "second"), [("Both", 1, 1), ("First pass", 1, 0), ("Hires pass", 0, 1)])
def test_hires(monkeypatch: pytest.MonkeyPatch, forge: bool, passes: str, first: bool, second: bool) -> None:
    """Forge tells scripts twice about the second pass."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    p, (picture,) = host.request(True, "Auto", passes, size=WIDE, hires=LARGE)
    watch.check(p)
    assert host.events.count("process_before_every_sampling") == (3 if forge else 2)
    latent = wanted(host.unet, p.latent(), p, plain=not first)
    close_to(picture, wanted(host.unet, enlarge(latent, LARGE), p, plain=not second))
    assert p.comments == {}
    assert p.extra_generation_params.get("FouriScale pass", "Both") == passes


@HOSTS
def test_hires_from_the_training_size(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    """That the first pass needs nothing is no news; that neither does is."""
    host = Host(monkeypatch, forge=forge)
    p, (picture,) = host.request(True, size=SMALL, hires=LARGE)
    assert p.comments == {}
    latent = wanted(host.unet, p.latent(), p, plain=True)
    close_to(picture, wanted(host.unet, enlarge(latent, LARGE), p))
    p, _ = host.request(True, "Auto", "First pass", size=SMALL, hires=LARGE)
    assert "64×64 is not larger" in comment_of(p)


@HOSTS
def test_interrupt_before_hires(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    host.interrupt_at = 1
    p, _ = host.request(True, size=WIDE, hires=LARGE)
    watch.check(p)


# --- other models ----------------------------------------------------------------------------------------------------


@HOSTS
def test_model_swap(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    other = build_unet(forge=forge, seed=1)
    watch = Watch(host, host.unet, other)
    host.request(True)
    host.main_model = host.make_model(other)
    p, (picture,) = host.request(True)
    watch.check(p)
    close_to(picture, wanted(other, p.latent(), p))


@HOSTS
def test_model_swap_that_keeps_the_modules(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    """A1111 loads a checkpoint of the same kind into the modules that are there, with whatever hooks they have."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    with monkeypatch.context() as broken:
        broken.setattr("webui_standin.Sampler.sample", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            host.process_images(Processing(host, [True]))
    del host.samplers[:]
    host.main_model = host.make_model(host.unet)
    host.load(host.main_model)
    p, (picture,) = host.request(True)
    watch.check(p)
    close_to(picture, wanted(host.unet, p.latent(), p))


@HOSTS
def test_refiner(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    """Another UNet takes over in the middle of sampling, and the first is back for the next picture."""
    host = Host(monkeypatch, forge=forge)
    other = build_unet(forge=forge, seed=1)
    watch = Watch(host, host.unet, other)
    host.refiner = (1, host.make_model(other))
    p, pictures = host.request(True, n_iter=2)
    watch.check(p)
    for iteration, picture in enumerate(pictures):
        close_to(picture, wanted(lambda step: other if step >= 1 else host.unet, p.latent(iteration), p))
    assert p.comments == {}


@HOSTS
def test_refiner_with_the_same_modules(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    host.refiner = (1, host.make_model(host.unet))
    p, (picture,) = host.request(True)
    watch.check(p)
    close_to(picture, wanted(host.unet, p.latent(), p))


class Transformer(nn.Module):
    """What SD 3 and Flux have in the place of a UNet; here it does what the UNet does, without showing its layers."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self._inner = [unet]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._inner[0](*args, **kwargs)


@HOSTS
@pytest.mark.parametrize("kind", ["transformer", "none"])
def test_refiner_without_a_unet(monkeypatch: pytest.MonkeyPatch, forge: bool, kind: str) -> None:
    host = Host(monkeypatch, forge=forge)
    other = build_unet(forge=forge, seed=1)
    watch = Watch(host, host.unet, other)
    model = host.make_model(Transformer(other))
    if kind == "none" and not forge:
        model = SimpleNamespace(apply_model=host.make_model(other).apply_model)
    host.refiner = (1, model)
    p, (picture,) = host.request(True)
    watch.check(p)
    assert "UNet of Stable Diffusion 1.x, 2.x or XL" in comment_of(p)
    half = three_rows(host.unet, fs.plan(host.unet, 256, 64), p.latent(), p.words, stop=1)
    assert largest(picture - half) > 0
    assert p.extra_generation_params["FouriScale"] is True  # it was at work, for a while


@HOSTS
def test_bug_while_the_refiner_takes_over(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    other = build_unet(forge=forge, seed=1)
    watch = Watch(host, host.unet, other)
    host.refiner = (1, host.make_model(other))
    real, calls = run_module.plan_for, []

    def second_fails(*args: Any) -> Any:
        calls.append(args)
        return real(*args) if len(calls) == 1 else 1 / 0

    monkeypatch.setattr(run_module, "plan_for", second_fails)
    p, _ = host.request(True)
    watch.check(p)
    assert "unexpected ZeroDivisionError" in comment_of(p)


# --- company ---------------------------------------------------------------------------------------------------------


@HOSTS
@pytest.mark.parametrize("when", ["before", "after"])
def test_wrappers_of_other_extensions_stay(monkeypatch: pytest.MonkeyPatch, forge: bool, when: str) -> None:
    """Others wrap the same methods of the same objects, before us or on top of us."""
    host = Host(monkeypatch, forge=forge)
    calls: list[str] = []
    theirs: dict[str, Any] = {}

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def their_wrapper(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return real(*args, **kwargs)

        theirs[name] = their_wrapper
        setattr(owner, name, their_wrapper)

    real_event = host.event

    def event(name: str, p: Processing, *first: Any, **named: Any) -> None:
        methods = {"process": (p, "close"), "process_before_every_sampling": (p.sampler, "launch_sampling")}
        if when == "after":
            real_event(name, p, *first, **named)
        if name in methods:
            wrap(*methods[name])
        if when == "before":
            real_event(name, p, *first, **named)

    host.event = event  # type: ignore[method-assign]
    p, (picture,) = host.request(True)
    close_to(picture, wanted(host.unet, p.latent(), p))
    assert (host.errors, count_hooks(host.unet)) == ([], 0)
    assert calls == ["launch_sampling", "close"]
    assert p.close is theirs["close"]
    assert vars(p.sampler)["launch_sampling"] is theirs["launch_sampling"]


@HOSTS
def test_a_generation_inside_a_generation(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    """Scripts make more pictures with a copy of the request while the first one is under way."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    real_event = host.event
    inner: list[Tensor] = []

    def event(name: str, p: Processing, *first: Any, **named: Any) -> None:
        real_event(name, p, *first, **named)
        if name == "postprocess_image" and not inner:
            host.event = real_event  # type: ignore[method-assign]
            fixer = copy.copy(p)
            fixer.n_iter = 1
            inner.extend(host.process_images(fixer))

    host.event = event  # type: ignore[method-assign]
    p, pictures = host.request(True, n_iter=2)
    watch.check(p)
    close_to(inner[0], pictures[0])
    close_to(pictures[1], wanted(host.unet, p.latent(1), p))


def test_a_request_that_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As loopback does; keys and comments of the last time are gone."""
    host = Host(monkeypatch)
    watch = Watch(host)
    p = Processing(host, [True])
    p.extra_generation_params["Another"] = 1
    p.comment("another comment")
    with closing(p):
        host.process_images(p)
        assert "FouriScale" in p.extra_generation_params
        p.script_args = [True, "no such preset"]
        host.process_images(p)
        assert any("no such preset" in text for text in p.comments)
        p.script_args = [False]
        host.process_images(p)
    watch.check(p)
    assert (p.extra_generation_params, p.comments) == ({"Another": 1}, {"another comment": 1})


def test_an_old_host_without_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    monkeypatch.delattr(Processing, "comment")
    p = Processing(host, [True, "no such preset"])
    del p.comments
    host.process_images(p)
    assert host.errors == []
    assert "no such preset" in host.module.REPORT.last["reason"]


# --- what is said ----------------------------------------------------------------------------------------------------

SKIPS = [
    ([True, "Auto", "Third pass"], "passes = 'Third pass' is not allowed: one of Both, First pass, Hires pass"),
    ([{"start": "soon"}], "start = 'soon' is not allowed: a number from 0 to 1"),
    ([{"preset": "Custom", "start": 0.9, "stop": 0.1}], "start = 0.9 is not allowed: a number from 0 to stop (0.1)"),
    ([{"strength": 1}], "strength = 1 is not allowed: unknown argument; known are enabled, preset, "),
    (
        [True, "no such preset"],
        "preset = 'no such preset' is not allowed: one of Auto, Reference, Balanced, Detail, ",
    ),
    ([True, "SDXL 2048x2048"], "preset = 'SDXL 2048x2048' is not allowed: a preset for sd15, which this model is, or"),
    ([True, "Auto", "Both", "no.such.layer"], "layers = 'no.such.layer' is not allowed: no such convolution; "),
    ([{"dilation": 1}], "the dilation is set to 1"),
    ([{"stop": 0}], "stop is 0"),
]


@pytest.mark.parametrize(
    ("args", "said"), SKIPS, ids=[said.split(" ")[0] + str(i) for i, (_, said) in enumerate(SKIPS)]
)
def test_comment_says_why_nothing_was_done(monkeypatch: pytest.MonkeyPatch, args: list[Any], said: str) -> None:
    host = Host(monkeypatch)
    watch = Watch(host)
    with inner_rows(host.unet) as rows:
        p, _ = host.request(*args, size=WIDE, n_iter=2)
    watch.check(p)
    assert rows == [2] * 2 * len(TIMESTEPS)
    assert comment_of(p).startswith("FouriScale skipped: " + said)
    assert p.extra_generation_params == {}
    last = host.module.REPORT.last
    assert last["active"] is False
    assert last["reason"].startswith(said)


@HOSTS
def test_comment_for_the_training_size(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, forge=forge)
    p, _ = host.request(True, size=SMALL)
    said = "64×64 is not larger than the 64×64 that the model was trained at"
    assert comment_of(p) == f"FouriScale skipped: {said}"
    assert "FouriScale" not in host.infotexts[-1]


def test_comment_for_a_size_below_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.options["fouriscale_smallest_auto"] = 200
    p, _ = host.request(True, size=WIDE)
    assert comment_of(p) == "FouriScale skipped: Auto acts from 200 pixels on, as the settings page says"
    p, _ = host.request(True, "Custom", size=WIDE)
    assert p.comments == {}


@HOSTS
@pytest.mark.parametrize("has_label", [True, False])
def test_comment_for_a_custom_unet(monkeypatch: pytest.MonkeyPatch, forge: bool, has_label: bool) -> None:
    """The host chooses it after the scripts' first event, so what counts is what it is when sampling begins."""
    host = Host(monkeypatch, forge=forge)
    watch = Watch(host)
    sd_unet: Any = host.modules["modules.sd_unet"]
    engine = SimpleNamespace(option=SimpleNamespace(label="[TRT] a castle")) if has_label else nn.Module()
    real_event = host.event

    def event(name: str, p: Processing, *first: Any, **named: Any) -> None:
        real_event(name, p, *first, **named)
        if name == "process":
            sd_unet.current_unet = engine

    host.event = event  # type: ignore[method-assign]
    p, _ = host.request(True)
    watch.check(p)
    label = "[TRT] a castle" if has_label else "Module"
    assert comment_of(p) == f"FouriScale skipped: the UNet is replaced by {label}, which hooks cannot reach"
    host.event = real_event  # type: ignore[method-assign]
    sd_unet.current_unet = None
    p, _ = host.request(True)
    assert p.comments == {}


@HOSTS
@pytest.mark.parametrize("kind", ["transformer", "none"])
def test_comment_for_a_model_without_a_unet(monkeypatch: pytest.MonkeyPatch, forge: bool, kind: str) -> None:
    host = Host(monkeypatch, forge=forge)
    model = host.make_model(Transformer(host.unet))
    if kind == "none":
        part = model.original.unet.model if forge else model.model
        real = part.diffusion_model
        part.diffusion_model = lambda *args, **kwargs: real(*args, **kwargs)
    host.main_model = model
    p, (picture,) = host.request(True)
    assert (host.errors, count_hooks(host.unet)) == ([], 0)
    assert "UNet of Stable Diffusion 1.x, 2.x or XL" in comment_of(p)
    close_to(picture, wanted(host.unet, p.latent(), p, plain=True))


@pytest.mark.parametrize(
    ("args", "pairs"),
    [
        ([True], {"FouriScale": "True"}),
        ([True, "Auto", "both", "mid"], {"FouriScale": "True", "FouriScale layers": "mid"}),
        (
            [{"preset": "Custom", "base": "64x64", "guidance": False}],
            {
                "FouriScale": "True",
                "FouriScale guidance": "False",
                "FouriScale preset": "Custom",
                "FouriScale start": "0.2",
                "FouriScale stop": "0.6",
                "FouriScale base-1": "64",
                "FouriScale base-2": "64",
            },
        ),
    ],
)
def test_infotext(monkeypatch: pytest.MonkeyPatch, args: list[Any], pairs: dict[str, str]) -> None:
    host = Host(monkeypatch)
    host.request(*args)
    found = parse_infotext(host.infotexts[-1])
    assert {k: v for k, v in found.items() if k.startswith("FouriScale")} == pairs
    assert found["Version"] == "v1.10.1"


def test_no_infotext_for_steps_that_were_all_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in img2img with a low denoising strength: the run begins where the method has ended."""
    host = Host(monkeypatch)
    monkeypatch.setattr("webui_standin.TIMESTEPS", (200.0, 100.0))
    host.request(True)
    assert "FouriScale" not in host.infotexts[-1]
    assert host.module.REPORT.last["unet_calls"] == 0


@HOSTS
def test_report(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = Host(monkeypatch, "sdxl", forge)
    seen: list[int] = []
    host.after_unet = lambda *_: seen.append(count_hooks(host.unet))
    host.request(True)
    last = json.loads(json.dumps(host.module.REPORT.last))
    plan = fs.plan(host.unet, 256, 128)
    assert all(n > len(plan.layers) for n in seen)
    assert last.pop("unet_calls") == 2
    counts = {"at_work": 2, "beyond": 1, "other_size": 0, "unreached": 0, "compiled": 0, "partly": 0, "unpaired": 0}
    assert last.pop("calls") == counts
    assert last.pop("rows") == ["uncond", "cond", "cond_weak"]
    assert last.pop("preset") == "Auto"
    assert last.pop("job") == 1
    steps = last.pop("dilation_by_step")
    assert [round(step["progress"], 3) for step in steps] == [round(1 - t / 999, 3) for t in TIMESTEPS]
    assert [step["dilation"] for step in steps] == [round(plan.dilation_at(1 - t / 999), 4) for t in TIMESTEPS]
    assert last == plan.to_dict()
    host.request(True, "Auto", "Both", "published", False)
    assert host.module.REPORT.last["rows"] == ["uncond", "cond"]
    host.request(True, size=SMALL)
    last = host.module.REPORT.last
    assert (last["active"], last["unet_calls"]) == (False, 0)
    assert "is not larger" in last["reason"]


@HOSTS
def test_user_presets_count(monkeypatch: pytest.MonkeyPatch, forge: bool, tmp_path: Any) -> None:
    host = Host(monkeypatch, forge=forge)
    host.options["fouriscale_user_folder"] = str(tmp_path)
    text = "family: sd15\npresets:\n- {name: Mine, size: [512, 512], guidance: false}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with inner_rows(host.unet) as rows:
        p, _ = host.request(True, "mine")
    assert rows == [2] * len(TIMESTEPS)
    assert p.extra_generation_params == {"FouriScale": True, "FouriScale preset": "Mine"}


def test_denoisers_that_do_not_say_whose_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stays without weak rows, and nothing breaks."""
    host = Host(monkeypatch)
    callbacks = host.modules["modules.script_callbacks"].registered["cfg_denoiser"]
    real = callbacks[0]
    for stranger in (SimpleNamespace(), SimpleNamespace(denoiser=None), SimpleNamespace(denoiser=SimpleNamespace())):
        real(stranger)
    callbacks[:] = [lambda params: real(SimpleNamespace(**{**vars(params), "denoiser": None}))]
    with inner_rows(host.unet) as rows:
        p, (picture,) = host.request(True)
    assert rows == [2] * len(TIMESTEPS)
    plan = fs.plan(host.unet, 256, 64, fs.Settings(guidance=False))
    close_to(picture, three_rows(host.unet, plan, p.latent(), p.words))
    assert host.errors == []
