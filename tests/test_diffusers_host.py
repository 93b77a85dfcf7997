"""FouriScale on whole pipelines: what changes, what must not, how far a run is, and what is left behind."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import fouriscale as fs
import fouriscale.hosts.diffusers.on_pipeline as host
import tiny_pipelines
import unets
from fouriscale.hosts.diffusers.calls import PipelineCalls
from fouriscale.hosts.diffusers.pipeline import SCHEDULERS, ModelError, load_pipeline, set_scheduler
from fouriscale.hosts.diffusers.sampling import Request, Result, decode, sample, sample_latents
from fouriscale.hosts.diffusers.size import TAKING
from fouriscale.settings.presets import AUTO_SETTINGS, Preset

FAMILIES = tiny_pipelines.FAMILIES
BASE = tiny_pipelines.BASE
LARGE = 3 * BASE  # twice would leave feature maps so small that weak and strong filters do the same
# Calls of the UNet in three steps, where they are not three.
CALLS = {"heun": 5, "pndm": 4}


@pytest.fixture(scope="module")
def folders(tiny_models: dict[str, Path]) -> dict[str, Path]:
    return {family: tiny_models[family] for family in FAMILIES}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, Any]:
    return {family: load_pipeline(folder) for family, folder in folders.items()}


@pytest.fixture
def pipes(loaded: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pipelines with the schedulers that they were saved with."""
    before = {family: pipe.scheduler for family, pipe in loaded.items()}
    yield loaded
    for family, scheduler in before.items():
        loaded[family].scheduler = scheduler


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[fs.Session]:
    """All sessions that the host attaches, in order."""
    made: list[fs.Session] = []

    def session(*args: Any, **kwargs: Any) -> fs.Session:
        made.append(fs.Session(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(host, "Session", session)
    return made


def make(pipe: Any, settings: fs.Settings | None, side: int = LARGE, **changes: Any) -> Result:
    values: dict[str, Any] = {"width": side, "height": side, "seed": 3, "steps": 2, "cfg": 5.0, **changes}
    return sample(pipe, Request("a cat", settings=settings, **values))


def hooks(module: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


@contextmanager
def watched(module: torch.nn.Module, look: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[list[Any]]:
    """What `look` sees in the arguments of each call of `module`."""
    seen: list[Any] = []
    handle = module.register_forward_pre_hook(lambda _, args, kwargs: seen.append(look(args, kwargs)), with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_larger_size_is_changed(pipes: dict[str, Any], family: str) -> None:
    plain, changed = (make(pipes[family], settings) for settings in (None, fs.Settings()))
    assert (changed.plan.family, changed.plan.base, changed.plan.dilation) == (family, (BASE, BASE), 3.0)
    assert changed.latents.shape == plain.latents.shape == (1, 4, LARGE // 8, LARGE // 8)
    assert torch.isfinite(changed.latents).all()
    assert unets.largest(changed.latents - plain.latents) > 1e-3
    assert changed.image.size == (LARGE, LARGE)
    assert (np.asarray(changed.image) != np.asarray(plain.image)).mean() > 0.01
    assert torch.equal(make(pipes[family], fs.Settings()).latents, changed.latents)


@pytest.mark.parametrize("family", FAMILIES)
def test_base_size_is_bit_identical_to_plain(pipes: dict[str, Any], family: str) -> None:
    plain, same = (make(pipes[family], settings, BASE) for settings in (None, fs.Settings()))
    assert not same.plan.active
    assert torch.equal(same.latents, plain.latents)
    assert np.array_equal(np.asarray(same.image), np.asarray(plain.image))
    assert "FouriScale" not in same.parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_equals_its_pictures_one_by_one(pipes: dict[str, Any], family: str) -> None:
    request = Request("a cat", LARGE, LARGE, 0, fs.Settings(), steps=2)
    batch, _, _ = sample_latents(pipes[family], request, [3, 8])
    for row, seed in zip(batch.split(1), (3, 8), strict=True):
        single, _, _ = sample_latents(pipes[family], request, [seed])
        assert unets.largest(row - single) < 1e-3 * unets.largest(single)
    assert unets.largest(batch[0] - batch[1]) > 0.1


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler(pipes: dict[str, Any], sessions: list[fs.Session], name: str) -> None:
    pipe = pipes["sd21"]
    set_scheduler(pipe, name)
    assert type(pipe.scheduler).__name__ == SCHEDULERS[name][0]
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert pipe.scheduler.config.beta_end == tiny_pipelines.SCHEDULE["beta_end"]
    plain, changed = (make(pipe, settings, steps=3, scheduler=name) for settings in (None, fs.Settings()))
    assert torch.isfinite(changed.latents).all()
    assert unets.largest(changed.latents - plain.latents) > 1e-3
    (session,) = sessions
    progress = [at for at, _ in session.history]
    assert len(progress) == CALLS.get(name, 3)
    if name in CALLS:
        assert progress == sorted(progress)
        assert 0.0 <= progress[0] < 0.4 < progress[-1] < 1.0
    else:
        assert progress == [(0, 3), (1, 3), (2, 3)]
    assert session.history[0][1] > 1.5 > session.history[-1][1]
    assert hooks(pipe.unet) == 0


def test_karras_noise_levels_are_those_of_the_name_only(pipes: dict[str, Any]) -> None:
    pipe = pipes["sd15"]
    wanted = {"dpm++_2m_karras": True, "dpm++_2m": False, "euler": False, "heun": False, "unipc": False, "lms": False}
    for name, karras in wanted.items():
        set_scheduler(pipe, "dpm++_2m_karras")
        set_scheduler(pipe, name)
        assert pipe.scheduler.config.use_karras_sigmas is karras, name


def test_unknown_scheduler_is_refused(pipes: dict[str, Any]) -> None:
    before = pipes["sd15"].scheduler
    with pytest.raises(fs.SettingsError, match=r"^scheduler = 'plms' is not allowed: one of ddim, ddpm, euler,"):
        set_scheduler(pipes["sd15"], "plms")
    assert pipes["sd15"].scheduler is before


def test_progress_of_ddim_is_counted(pipes: dict[str, Any], sessions: list[fs.Session]) -> None:
    make(pipes["sd15"], fs.Settings(start=0.2, stop=0.6), steps=5)
    (session,) = sessions
    assert list(session.history) == [((0, 5), 3.0), ((1, 5), 3.0), ((2, 5), 2.0), ((3, 5), 1.0), ((4, 5), 1.0)]
    assert session.calls == 3
    assert session.closed


@pytest.mark.parametrize("settings", [None, fs.Settings()], ids=["plain", "fouriscale"])
def test_every_step_is_told(pipes: dict[str, Any], settings: fs.Settings | None) -> None:
    finished: list[int] = []
    request = Request("a cat", LARGE, LARGE, 3, settings, steps=3, cfg=5.0)
    told = sample(pipes["sd15"], request, finished.append)
    assert finished == [1, 2, 3]
    assert torch.equal(told.latents, make(pipes["sd15"], settings, steps=3).latents)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_left_after_a_call(pipes: dict[str, Any], family: str) -> None:
    unet = pipes[family].unet
    before = unets.traces(unet)
    with fs.on_pipeline(pipes[family], LARGE, LARGE, fs.Settings()) as session:
        assert session.plan.active
        assert hooks(unet) > 2 * len(session.plan.layers) > 40
    assert hooks(unet) == 0
    make(pipes[family], fs.Settings())
    assert hooks(unet) == 0
    assert unets.traces(unet) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_left_after_an_exception_in_a_callback(pipes: dict[str, Any], family: str) -> None:
    pipe = pipes[family]
    plain = make(pipe, None).latents
    before = unets.traces(pipe.unet)
    seen = []

    def give_up(_pipe: Any, step: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(hooks(pipe.unet))
        raise ZeroDivisionError(step)

    def abandoned() -> None:
        with fs.on_pipeline(pipe, LARGE, LARGE, fs.Settings()):
            pipe("a cat", num_inference_steps=2, guidance_scale=5.0, callback_on_step_end=give_up)

    with pytest.raises(ZeroDivisionError):
        abandoned()
    assert len(seen) == 1
    assert seen[0] > 40
    assert hooks(pipe.unet) == 0
    assert unets.traces(pipe.unet) == before
    assert not set(vars(pipe)) & set(TAKING)
    assert torch.equal(make(pipe, None).latents, plain)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception_inside_the_unet(pipes: dict[str, Any], kind: type[BaseException]) -> None:
    pipe = pipes["sdxl"]
    before = unets.traces(pipe.unet)

    def give_up(*_: Any) -> None:
        raise kind("in the middle of a step")

    handle = pipe.unet.mid_block.resnets[1].conv1.register_forward_hook(give_up)
    with pytest.raises(kind, match="in the middle"):
        make(pipe, fs.Settings())
    handle.remove()
    assert hooks(pipe.unet) == 0
    assert unets.traces(pipe.unet) == before


# Width × height of the picture; height, width of the training size, scaled by 64 / 1024 to multiples of 8.
@pytest.mark.parametrize(
    ("size", "told"),
    [((128, 128), [64, 64]), ((256, 128), [48, 88]), ((128, 256), [88, 48]), ((64, 64), [64, 64])],
)
def test_sdxl_is_told_the_training_size(pipes: dict[str, Any], size: tuple[int, int], told: list[int]) -> None:
    pipe = pipes["sdxl"]
    with watched(pipe.unet.add_time_proj, lambda args, kwargs: args[0].reshape(-1, 6).unique(dim=0).tolist()) as seen:
        make(pipe, fs.Settings(), width=size[0], height=size[1])
        make(pipe, None, width=size[0], height=size[1])
    height, width = told
    assert seen[:2] == [[[height, width, 0, 0, height, width]]] * 2
    assert seen[2:] == [[[size[1], size[0], 0, 0, size[1], size[0]]]] * 2


def latents(pipe: Any, **arguments: Any) -> torch.Tensor:
    """What a user's own call makes, of two steps."""
    pipe.set_progress_bar_config(disable=True)
    arguments = {"num_inference_steps": 2, "guidance_scale": 5.0, "output_type": "latent", **arguments}
    return pipe("a cat", generator=torch.Generator().manual_seed(3), **arguments).images


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dilation", [None, 1.0], ids=["active", "plain"])
@pytest.mark.parametrize("size", [(LARGE, LARGE), (2 * BASE, LARGE)])
def test_a_call_that_says_nothing_is_one_that_says_everything(
    pipes: dict[str, Any], family: str, size: tuple[int, int], dilation: float | None
) -> None:
    """Within the block the pipeline's own default size is the block's; plain where the plan is; as ever afterwards."""
    pipe = pipes[family]
    width, height = size
    before = latents(pipe)
    with fs.on_pipeline(pipe, width, height, fs.Settings(dilation=dilation)):
        bare = latents(pipe)
        told = latents(pipe, width=width, height=height)
    assert bare.shape[-2:] == (height // 8, width // 8)
    assert torch.equal(bare, told)
    plain = latents(pipe, width=width, height=height)
    assert torch.equal(bare, plain) is (dilation == 1.0)
    assert torch.equal(latents(pipe), before)


def test_the_example_of_the_readme(pipes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is written there, with a small pipeline and a small size in the place of the published ones."""
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    pipe = pipes["sdxl"]
    pipe.set_progress_bar_config(disable=True)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda name: pipe)
    names: dict[str, Any] = {}
    exec(block.replace("2048", str(LARGE)).replace('"a castle"', '"a castle", num_inference_steps=2'), names)
    assert names["image"].size == (LARGE, LARGE)
    assert [at for at, _ in names["session"].history] == [(0, 2), (1, 2)]
    assert names["session"].verdict.worked


def test_a_size_that_the_call_says_is_the_callers(pipes: dict[str, Any]) -> None:
    pipe = pipes["sdxl"]

    def call() -> list[Any]:
        with fs.on_pipeline(pipe, LARGE, LARGE), watched(pipe.unet, lambda a, k: a[0].shape[-2:]) as seen:
            latents(pipe, width=2 * BASE, height=2 * BASE)
        return seen

    said = "had no effect, because every UNet call in which it should act had another size"
    with pytest.warns(UserWarning, match=said):
        seen = call()
    assert {tuple(size) for size in seen} == {(16, 16)}


def test_without_settings_the_preset_of_the_size_is_meant(pipes: dict[str, Any], monkeypatch: Any) -> None:
    preset = Preset("mine", "sd15", (LARGE, LARGE), fs.Settings(start=0.1, stop=0.3))
    monkeypatch.setattr(host, "choose", lambda family, *size: preset if (family, *size) == ("sd15", 192, 192) else None)
    for size, meant in (((LARGE, LARGE), preset.settings), ((2 * BASE, LARGE), AUTO_SETTINGS)):
        with fs.on_pipeline(pipes["sd15"], *size) as session:
            assert session.plan.settings == meant


def test_rows_and_steps_are_those_of_each_call(pipes: dict[str, Any]) -> None:
    """One block, three calls: with and without guidance, of two and of three steps, one of them broken off."""
    pipe = pipes["sd15"]

    def give_up(*_: Any) -> None:
        raise ZeroDivisionError

    expected = [make(pipe, fs.Settings(), cfg=cfg, steps=steps).latents for cfg, steps in ((5.0, 2), (1.0, 3))]
    with fs.on_pipeline(pipe, LARGE, LARGE, fs.Settings()) as session:
        first = latents(pipe, eta=1.0)
        with pytest.raises(ZeroDivisionError):
            latents(pipe, num_inference_steps=4, callback_on_step_end=give_up)
        second = latents(pipe, eta=1.0, guidance_scale=1.0, num_inference_steps=3)
    assert [at for at, _ in session.history] == [(0, 2), (1, 2), (0, 4), (0, 3), (1, 3), (2, 3)]
    assert torch.equal(first, expected[0])
    assert torch.equal(second, expected[1])


def test_steps_that_share_a_timestep_are_told_apart() -> None:
    scheduler = SimpleNamespace(order=1, timesteps=torch.tensor([9, 7, 7, 7, 3]))
    calls = PipelineCalls(SimpleNamespace(scheduler=scheduler), (64, 64), labels=False)
    session = SimpleNamespace(progress=None)
    seen = []
    for timestep in (9, 7, 7, 7, 3, 3, 9, 7, 8, 3):
        calls.before(session, (None, torch.tensor(timestep)), {})
        seen.append(session.progress)
    steps = [0, 1, 2, 3, 4, 4, 0, 1]  # the second 3 is the same step again; 8 is of no run that begins at 9
    assert seen == [*((i, 5) for i in steps), None, None]


def test_no_pipeline_is_refused() -> None:
    with pytest.raises(fs.UnsupportedModelError, match="SimpleNamespace is no diffusers pipeline"):
        fs.on_pipeline(SimpleNamespace(), LARGE, LARGE).__enter__()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_coarse_start_computes_with_the_models_own_schedule(pipes: dict[str, Any], family: str) -> None:
    """With a coarse start to the end, the sampled points of DDIM's latents are a base-size run of the sampled noise."""
    pipe = pipes[family]
    noise = unets.noise(1, 4, LARGE // 8, LARGE // 8, seed=5)
    told = {"original_size": (BASE, BASE), "target_size": (BASE, BASE)} if family == "sdxl" else {}
    with fs.on_pipeline(pipe, LARGE, LARGE, fs.Settings(coarse=1.0, freeu=False)) as session:
        (stage, *_) = session.plan.stages
        large = latents(pipe, latents=noise)
    small = (slice(1, None, 3), slice(1, None, 3))  # the centres of the base's cells
    expected = latents(pipe, latents=noise[..., small[0], small[1]], width=BASE, height=BASE, **told)
    assert stage.size == (BASE, BASE)
    torch.testing.assert_close(large[..., small[0], small[1]], expected, atol=1e-4, rtol=0)
    assert torch.isfinite(large).all()


@pytest.mark.parametrize("prediction", ["sample", "flow_prediction"])
def test_a_coarse_start_without_a_known_prediction_is_refused(pipes: dict[str, Any], prediction: str) -> None:
    pipe = pipes["sd15"]
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, prediction_type=prediction)
    with pytest.raises(fs.SettingsError, match=f"coarse = .the DDIMScheduler of a model that predicts .{prediction}."):
        fs.on_pipeline(pipe, LARGE, LARGE, fs.Settings(coarse=0.5)).__enter__()
    assert hooks(pipe.unet) == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("cfg", "inside", "outside"), [(1.0, 2, 1), (5.0, 3, 2)])
def test_rows_inside_the_unet(pipes: dict[str, Any], family: str, cfg: float, inside: int, outside: int) -> None:
    """cond and its weak row, and uncond where the guidance scale is above 1; plain after `stop`."""
    pipe = pipes[family]
    plain = make(pipe, None, cfg=cfg)
    with (
        watched(pipe.unet, lambda args, kwargs: args[0].shape[0]) as host_rows,
        watched(pipe.unet.mid_block, lambda args, kwargs: args[0].shape[0]) as mid_rows,
    ):
        changed = make(pipe, fs.Settings(start=0.0, stop=0.5), cfg=cfg)
    assert host_rows == [outside] * 2
    assert mid_rows == [inside, outside]
    assert unets.largest(changed.latents - plain.latents) > 1e-3


def test_distilled_guidance_has_cond_rows_only(folders: dict[str, Path]) -> None:
    pipe = load_pipeline(folders["sd15"])
    pipe.unet = unets.build("sd15", time_cond_proj_dim=8)
    plain = make(pipe, None)
    with watched(pipe.unet.mid_block, lambda args, kwargs: args[0].shape[0]) as rows:
        changed = make(pipe, fs.Settings(start=0.0, stop=1.0))
    assert rows == [2, 2]
    assert unets.largest(changed.latents - plain.latents) > 1e-3


def test_without_guidance_no_row_is_added(pipes: dict[str, Any]) -> None:
    with watched(pipes["sd15"].unet.mid_block, lambda args, kwargs: args[0].shape[0]) as rows:
        make(pipes["sd15"], fs.Settings(guidance=False))
    assert rows == [2, 2]


def test_a_size_that_no_unet_takes_is_refused_before_the_first_step(pipes: dict[str, Any]) -> None:
    with watched(pipes["sd15"].unet, lambda args, kwargs: None) as calls:
        with pytest.raises(fs.SettingsError, match=r"^width = 100 is not allowed"):
            make(pipes["sd15"], fs.Settings(), width=100)
        with pytest.raises(fs.SettingsError, match=r"^height = 20000 is not allowed"):
            make(pipes["sd15"], None, height=20000)
    assert calls == []


def test_the_decoder_gets_its_type_back(folders: dict[str, Path]) -> None:
    pipe = load_pipeline(folders["sdxl"])
    latents = unets.noise(1, 4, 16, 16)
    (exact,) = decode(pipe, latents)
    pipe.vae.to(torch.float16)
    with watched(pipe.vae.decoder, lambda args, kwargs: args[0].dtype) as seen:
        (upcast,) = decode(pipe, latents.half())
    assert pipe.vae.config.force_upcast
    assert seen == [torch.float32]
    assert pipe.vae.dtype == torch.float16
    assert np.abs(np.asarray(upcast, int) - np.asarray(exact, int)).max() <= 8


# What is wrong with a copy of the pipeline's folder -> what the message says.
def _no_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def _no_unet(folder: Path) -> None:
    shutil.rmtree(folder / "unet")


def _unet_is_garbage(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"these are no weights")


def _text_encoder_is_garbage(folder: Path) -> None:
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"these are no weights")


def _unet_is_cut_off(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def _other_weights(folder: Path) -> None:
    save_file({"a": torch.zeros(1)}, folder / "unet" / "diffusion_pytorch_model.safetensors")


def _config_is_no_json(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")


def _unknown_class(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "NoSuchPipeline"}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_no_index, "model_index.json"),
        (_no_unet, "it has no folder unet"),
        (_unet_is_garbage, "diffusion_pytorch_model.safetensors"),
        (_text_encoder_is_garbage, "header"),
        (_unet_is_cut_off, "diffusion_pytorch_model.safetensors"),
        (_other_weights, "no data"),
        (_config_is_no_json, "config.json"),
        (_unknown_class, "NoSuchPipeline"),
    ],
)
def test_spoilt_folders(folders: dict[str, Path], tmp_path: Path, spoil: Callable[[Path], None], reason: str) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(folders["sd15"], folder)
    spoil(folder)
    with pytest.raises(ModelError) as caught:
        load_pipeline(folder)
    message = str(caught.value)
    assert message.startswith(f"model = {str(folder)!r} could not be loaded: ")
    assert reason in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.ckpt"])
def test_spoilt_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"these are no weights either")
    with pytest.raises(ModelError) as caught:
        load_pipeline(path)
    assert str(caught.value).startswith(f"model = {str(path)!r} could not be loaded: ")


@pytest.mark.parametrize("model", ["/no/such/folder", "./no/such", "plainword", "a/b/c"])
def test_missing_models(model: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_pipeline(model)
    assert str(caught.value) == f"model = {model!r} is not allowed: a folder, a .safetensors file, or OWNER/NAME"


def test_hub_ids_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def from_pretrained(name: str, **_: Any) -> None:
        asked.append(name)
        raise OSError("no such repository\nand more lines")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", from_pretrained)
    with pytest.raises(ModelError, match=r"^model = 'owner/name' could not be loaded: no such repository$"):
        load_pipeline("owner/name")
    assert asked == ["owner/name"]


def test_pipelines_without_a_unet_are_refused(tmp_path: Path) -> None:
    folder = tiny_pipelines.save_transformer(tmp_path / "dit")
    with pytest.raises(ModelError) as caught:
        load_pipeline(folder)
    assert str(caught.value).startswith(f"model = {str(folder)!r} is a DiTPipeline; needed is a text-to-image pipeline")


def test_pipelines_of_another_task_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "inpaint"
    shutil.copytree(folders["sd15"], folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionInpaintPipeline"}))
    with pytest.raises(ModelError, match="is a StableDiffusionInpaintPipeline; needed is"):
        load_pipeline(folder)


@pytest.mark.parametrize("device", ["toaster", "cuda:99", "meta"])
def test_devices_that_are_not_there_are_refused(folders: dict[str, Path], device: str) -> None:
    with pytest.raises(fs.SettingsError, match=f"^device = '{device}' is not allowed: cpu, or one that"):
        load_pipeline(folders["sd15"], device=device)


@pytest.mark.parametrize(
    ("key", "name"),
    [("conditioner.embedders.0.w", "StableDiffusionXLPipeline"), ("cond_stage_model.w", "StableDiffusionPipeline")],
)
def test_single_files_are_told_apart_by_their_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, name: str
) -> None:
    path = tmp_path / "single.safetensors"
    save_file({key: torch.zeros(1)}, path)

    def from_single_file(self: Any, file: str, torch_dtype: torch.dtype) -> None:
        raise OSError(f"{self.__name__} {Path(file).name} {torch_dtype}")

    for kind in (diffusers.StableDiffusionXLPipeline, diffusers.StableDiffusionPipeline):
        monkeypatch.setattr(kind, "from_single_file", classmethod(from_single_file))
    with pytest.raises(ModelError, match=f"could not be loaded: {name} single.safetensors torch.float16$"):
        load_pipeline(path, torch.float16)
