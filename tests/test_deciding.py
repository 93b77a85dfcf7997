"""Header, /plan and run give one answer: each request is asked of all three, the run on the stand-in host."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")

import webui_standin
from fouriscale import SettingsError
from fouriscale.hosts.webui import deciding
from fouriscale.hosts.webui.api import PlanQuery, answer
from fouriscale.hosts.webui.args import parse
from fouriscale.hosts.webui.deciding import HostState, Page, Pass, Request, hires_size, passes_of, plan_for
from fouriscale.hosts.webui.describe import headline, sentence, words
from fouriscale.settings.presets import load
from fouriscale.unet.structure import blueprint_structure
from webui_standin import Host
from webui_unets import build_unet, inner_rows

SMALL, LARGE = (8, 8), (8, 32)  # latents, height and width: the training size, and four times that on a side


@dataclass
class Case:
    """One request. page: the tab's values. acts: of each pass, whether anything is done. said: in the header.

    comment: what the run says below the picture; "" for nothing. plan: whether /plan can be asked the same.
    """

    args: dict[str, Any]
    page: dict[str, Any]
    acts: list[bool]
    said: str
    comment: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    plan: bool = True
    freeu: bool = False


WIDE = {"width": 256, "height": 64}
HIRES = {"width": 64, "height": 64, "enable_hr": True, "hr_resize_x": 256, "hr_resize_y": 64}
CASES = {
    "one pass": Case({}, WIDE, [True], "SD 1.5 256×64: dilation 4 over 64×64"),
    "stop 0": Case(
        {"preset": "Custom", "stop": 0}, WIDE, [False], "nothing to do, stop is 0", "stop is 0", plan=False
    ),
    "hires fix from the base size": Case(
        {}, HIRES, [False, True], "hires pass SD 1.5 256×64: dilation 4 over 64×64"
    ),
    "only the hires pass": Case(
        {"passes": "Hires pass"}, {**HIRES, "width": 128, "hr_resize_x": 256}, [False, True],
        "first pass SD 1.5 128×64: nothing to do, Pass is set to Hires pass",
    ),
    "only the first pass": Case(
        {"passes": "First pass"}, HIRES, [False, False],
        "hires pass SD 1.5 256×64: nothing to do, Pass is set to First pass", "64×64 is not larger",
    ),
    "hires pass with hires fix off": Case(
        {"passes": "Hires pass"}, WIDE, [False], "Pass is set to Hires pass, and hires fix is off",
        "Pass is set to Hires pass, and hires fix is off",
    ),
    "hires pass in img2img": Case(
        {"passes": "Hires pass"}, {**WIDE, "img2img": True, "denoising_strength": 0.9}, [False],
        "which img2img does not have", "Pass is set to Hires pass, which img2img does not have",
    ),
    "hires fix with little noise": Case(
        {}, {**HIRES, "denoising_strength": 0.25}, [False, False],
        "with denoising strength 0.25 the pass begins at 75% of the trajectory, and FouriScale stops at 70%",
        "with denoising strength 0.25 the pass begins at 75%",
    ),
    "img2img with little noise": Case(
        {}, {**WIDE, "img2img": True, "denoising_strength": 0.3}, [False],
        "nothing to do, with denoising strength 0.3 the pass begins at 70% of the trajectory",
        "with denoising strength 0.3 the pass begins at 70%",
    ),
    "img2img with enough": Case(
        {}, {**WIDE, "img2img": True, "denoising_strength": 0.31}, [True], "256×64: dilation 4 over 64×64"
    ),
    "a size below the setting": Case(
        {}, WIDE, [False], "Auto acts from 300 pixels on", "Auto acts from 300 pixels on",
        {"fouriscale_smallest_auto": 300},
    ),
    "a width that the host floors": Case({}, {"width": 263, "height": 70}, [True], "SD 1.5 256×64: dilation 4"),
    "another FreeU": Case(
        {"freeu": True}, WIDE, [True], "its FreeU stepped aside", "its FreeU stepped aside", plan=False, freeu=True
    ),
    "a coarse start in a pass that begins with a picture": Case(
        {"coarse": 0.7}, {**WIDE, "img2img": True, "denoising_strength": 0.9}, [True],
        "no coarse start: the pass begins with a picture", "no coarse start: the pass begins with a picture",
        plan=False,
    ),
    "switched off": Case({"enabled": False}, WIDE, [False], "Off. When on: SD 1.5 256×64: dilation 4", plan=False),
}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["a1111", "forge"])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch, forge=request.param, unet=_unet(request.param))


@functools.cache
def _unet(forge: bool) -> Any:
    """One for all tests: runs leave nothing on it."""
    return build_unet(forge=forge)


def run(host: Host, case: Case, monkeypatch: pytest.MonkeyPatch) -> tuple[list[bool], list[str]]:
    """Which of the passes the stand-in changed, counted by the rows that reach the UNet, and the comments."""
    page = Page(**case.page)
    height, width = int(page.height) // 8, int(page.width) // 8
    hires = (int(page.hr_resize_y) // 8, int(page.hr_resize_x) // 8) if page.enable_hr else None
    acts: list[bool] = []
    real = webui_standin.Sampler.sample

    def sample(sampler: Any, p: Any, x: Any) -> Any:
        with inner_rows(host.unet) as rows:
            latent = real(sampler, p, x)
        acts.append(max(rows) > 2)
        return latent

    monkeypatch.setattr(webui_standin.Sampler, "sample", sample)
    p = webui_standin.Processing(host, [case.args], size=(height, width), hires=hires, img2img=page.img2img)
    p.denoising_strength = page.denoising_strength
    if page.img2img:
        p.init_images = ["a picture"]
    if case.freeu:
        p.extra_generation_params["freeu_enabled"] = True
    host.process_images(p)
    assert host.errors == []
    return acts, list(p.comments)


@pytest.mark.parametrize("name", CASES)
def test_header_route_and_run_agree(host: Host, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    host.options.update(case.options)
    environment = host.module.current_environment()
    args = [{"enabled": True, **case.args}]
    state = environment.state(other_freeu=case.freeu)
    text, plans = headline(host.main_model, args, Page(**case.page), environment.presets, state)
    assert case.said in text
    assert [case.args.get("enabled", True) and plan.active for plan in plans] == case.acts
    if case.plan:
        told = answer(PlanQuery(**case.page, **case.args), environment, host.main_model)
        assert told["text"] == text
        assert [one["active"] for one in told["passes"]] == case.acts
        assert [one["reason"] for one in told["passes"]] == [plan.reason for plan in plans]
    acts, comments = run(host, case, monkeypatch)
    assert acts == case.acts
    assert len(comments) == bool(case.comment)
    assert case.comment in "".join(comments)


def test_a_replaced_unet(host: Host) -> None:
    host.modules["modules.sd_unet"].current_unet = SimpleNamespace(option=SimpleNamespace(label="[TRT] a"))
    environment = host.module.current_environment()
    said = "the UNet is replaced by [TRT] a, which hooks cannot reach"
    assert said in headline(host.main_model, [{}], Page(256, 64), environment.presets, environment.state())[0]
    assert answer(PlanQuery(256, 64), environment, host.main_model)["reason"] == said
    p, _ = host.request(True, size=LARGE)
    assert list(p.comments) == [f"FouriScale skipped: {said}"]


@pytest.mark.parametrize("noisy", [True, False])
def test_a_script_that_samples_by_itself(host: Host, noisy: bool) -> None:
    """As "img2img alternative test": the host tells other scripts of no pass. Off, nothing is said."""
    real = host.event
    host.event = lambda name, p, *a, **k: name == "process_before_every_sampling" or real(name, p, *a, **k)  # type: ignore[method-assign]
    p, _ = host.request(noisy, size=LARGE, n_iter=2)
    assert [("img2img alternative test" in text) for text in p.comments] == [True] * noisy
    assert host.errors == []


# --- passes and sizes, as the hosts compute them ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "scale", "resize", "wanted"),
    [
        ((512, 512), 2.0, (0, 0), (1024, 1024)),
        ((512, 768), 1.55, (0, 0), (792, 1184)),  # 793.6 and 1190.4
        ((512, 768), 2.0, (1024, 0), (1024, 1536)),
        ((512, 768), 2.0, (0, 1000), (664, 1000)),  # 666.7
        ((512, 512), 2.0, (1024, 768), (1024, 768)),  # 1024×1024, cut
        ((512, 512), 2.0, (1000, 1004), (1000, 1000)),
        ((1001, 512), 1.0, (0, 0), (1000, 512)),
    ],
)
def test_hires_size(size: tuple[int, int], scale: float, resize: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert hires_size(size, scale, *resize) == wanted


def test_resize_by() -> None:
    page = Page(512, 512, img2img=True, denoising_strength=0.7, resize_by=1.5, source=(705, 333))
    assert passes_of(page) == (Pass(deciding.IMG2IMG, (1056, 496), 0.7),)
    presets = load()
    plans = headline(None, [{}], page, presets)[1]
    assert {plan.size for plan in plans} == {(1056, 496)}
    unknown = Page(2048, 2048, img2img=True, resize_by=1.5)
    text, plans = headline(None, [{}], unknown, presets)
    assert (plans, "2048" in text) == ([], False)  # width and height do not count here
    assert "resize by" in text


@pytest.mark.parametrize(
    "page",
    [
        Page(None, 512),
        Page("wide", 512),
        Page(512, float("nan")),
        Page(-8, 512),
        Page(512, 512, True, denoising_strength="x"),
        Page(0, 0, enable_hr=True, hr_resize_x=512),
    ],
)
def test_values_that_are_none(page: Page) -> None:
    text, plans = headline(None, [{}], page, [])
    assert "is not allowed" in text
    assert plans == []


# --- without a model, and as data -------------------------------------------------------------------------------------


class FakeInitialModel:
    """What Forge has before the first picture."""


@pytest.mark.parametrize("model", [None, FakeInitialModel()])
def test_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    host = Host(monkeypatch)
    environment = host.module.current_environment()
    text, plans = headline(model, [{}], Page(1024, 1024), environment.presets)
    assert text.startswith("no model is loaded yet; SD 1.5 1024×1024: dilation 2 over 512×512")
    assert [plan.family for plan in plans] == ["sd15", "sdxl"]
    off = headline(model, [{"enabled": False}], Page(1024, 1024), environment.presets)[0]
    assert off == "Off. When on: " + text
    with pytest.raises(Exception, match=r"^no model is loaded yet: load one, or ask for a family: sd15, sd21, sdxl$"):
        answer(PlanQuery(1024, 1024), environment, model)
    assert answer(PlanQuery(1024, 1024, family="sd15"), environment, model)["dilation"] == 2.0


def test_words_are_data() -> None:
    passes = (Pass(deciding.FIRST, (512, 512)), Pass(deciding.HIRES, (1024, 1024), 0.6))
    request = Request(parse([{}]), tuple(load()), passes, hires=True)
    decision = plan_for(blueprint_structure("sd15"), request, HostState())
    first, second = words(decision)
    assert (first.name, first.subject, first.acts) == ("first pass", "SD 1.5 512×512", False)
    assert (second.name, second.acts) == ("hires pass", True)
    assert sentence(decision) == (
        f"first pass SD 1.5 512×512: {first.text}; hires pass SD 1.5 1024×1024: {second.text}"
    )
    assert decision.active
    before = copy.deepcopy(request)
    assert plan_for(blueprint_structure("sd15"), request, HostState()) == decision
    assert request == before
    with pytest.raises(SettingsError, match="width = 1001"):
        plan_for(blueprint_structure("sd15"), Request(parse([{}]), (), (Pass(deciding.FIRST, (1001, 512)),)))
