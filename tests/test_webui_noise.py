"""The hosts' noise schedules, read from their models and used by the coarse start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fouriscale.hosts.webui.noise import noise_of
from fouriscale.maths.noise import NoiseSchedule
from webui_standin import A1111Model, ForgeModel, Host

ALPHAS = (1.0 - torch.linspace(0.001, 0.02, 1000)).cumprod(0)
SIGMAS = ((1.0 - ALPHAS) / ALPHAS).sqrt()
TIMES = torch.tensor([0.0, 7.0, 500.0, 999.0])


def a1111(prediction: Any = "eps", alphas: Any = ALPHAS) -> Any:
    """A checkpoint of A1111 with its schedule, as ldm has it."""
    model = A1111Model(torch.nn.Identity())
    model.alphas_cumprod, model.parameterization = alphas, prediction  # type: ignore[attr-defined]
    return model


def forge(**parts: Any) -> Any:
    """A checkpoint of Forge whose model has these parts beside its UNet."""
    model = ForgeModel(torch.nn.Identity())
    vars(model.forge_objects.unet.model).update(parts)
    return model


def predictor(prediction: Any, sigmas: Any = SIGMAS) -> Any:
    return forge(predictor=SimpleNamespace(sigmas=sigmas, prediction_type=prediction))


def comfy(prediction: str) -> Any:
    """reForge's: ComfyUI's model."""
    kind, sampling = SimpleNamespace(name=prediction), SimpleNamespace(sigmas=SIGMAS)
    return forge(model_type=kind, model_sampling=sampling)


@pytest.mark.parametrize(
    ("model", "prediction"),
    [
        (a1111("eps"), "epsilon"), (a1111("v"), "v_prediction"), (predictor("epsilon"), "epsilon"),
        (predictor("eps"), "epsilon"), (predictor("v_prediction"), "v_prediction"), (comfy("EPS"), "epsilon"),
        (comfy("V_PREDICTION"), "v_prediction"),
    ],
)  # fmt: skip
def test_both_hosts_schedules_are_read(model: Any, prediction: str) -> None:
    noise = noise_of(model)
    assert noise is not None
    assert (noise.prediction, noise.assumed) == (prediction, False)
    signal, sigma = (level.flatten() for level in noise.levels(TIMES))
    torch.testing.assert_close(signal, ALPHAS[TIMES.long()].sqrt(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sigma, (1 - ALPHAS[TIMES.long()]).sqrt(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        A1111Model(torch.nn.Identity()), ForgeModel(torch.nn.Identity()), a1111("x0"), a1111(None), a1111("eps", None),
        a1111("eps", 2 * ALPHAS), predictor("edm"), predictor("const"), predictor("epsilon", None), comfy("FLOW"),
        SimpleNamespace(), None,
    ],
)  # fmt: skip
def test_what_is_not_told_is_not_known(model: Any) -> None:
    assert noise_of(model) is None


@pytest.mark.parametrize("is_forge", [False, True])
def test_a_run_is_given_the_hosts_schedule(monkeypatch: pytest.MonkeyPatch, is_forge: bool) -> None:
    host = Host(monkeypatch, forge=is_forge)
    given: list[NoiseSchedule | None] = []
    run = __import__("fouriscale.hosts.webui.run", fromlist=["attach"])
    attach = run.attach

    def seen(unet: Any, plan: Any, rows: Any, adapter: Any, noise: NoiseSchedule | None = None) -> Any:
        given.append(noise)
        return attach(unet, plan, rows, adapter, noise)

    monkeypatch.setattr(run, "attach", seen)
    host.request(True)
    if is_forge:
        owner = host.main_model.original.unet.model
        owner.predictor = SimpleNamespace(sigmas=SIGMAS, prediction_type="v_prediction")
    else:
        host.main_model.alphas_cumprod, host.main_model.parameterization = ALPHAS, "v"
    host.request({"coarse": 0.7})
    assert host.errors == []
    told, last = given[0], given[-1]
    assert told is None
    assert last is not None
    assert (last.prediction, last.assumed) == ("v_prediction", False)
