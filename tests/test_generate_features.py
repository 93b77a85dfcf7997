"""What `fouriscale generate` can add to a model: LoRAs, embeddings, single files, a refiner; and its method options."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLImg2ImgPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import fouriscale as fs
import fouriscale.cli.generate as generate_module
import fouriscale.hosts.diffusers.on_pipeline as host
import tiny_pipelines
import unets
from fouriscale import model as bundled
from fouriscale.cli import main
from fouriscale.cli.options import parse_embedding, parse_lora
from fouriscale.hosts.diffusers.addons import add_embedding, add_loras, load_refiner
from fouriscale.hosts.diffusers.pipeline import ModelError, load_pipeline, set_scheduler
from fouriscale.hosts.diffusers.sampling import Refiner, Request, sample, sample_latents
from fouriscale.lab import naive
from tools.export_ldm import export

TWICE = 2 * tiny_pipelines.BASE
CONV, LINEAR = "down_blocks.2.resnets.0.conv1", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    found = {family: tiny_models[family] for family in tiny_pipelines.FAMILIES}
    found["refiner"] = save_refiner(root / "refiner")
    return found


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[fs.Session]]:
    made: list[fs.Session] = []

    def session(*args: Any, **kwargs: Any) -> fs.Session:
        made.append(fs.Session(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(host, "Session", session)
    yield made
    assert all(session.closed and session.hooks == 0 for session in made)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Runs `fouriscale generate` in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    size = ["--width", TWICE, "--height", TWICE, "--steps", 2, "--out", "made"]

    def run(model: object, *args: object) -> tuple[int, str, str]:
        words = ["fouriscale", "generate", "--model", model, "--prompt", "a cat", *size, *args]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that the command makes; none is carried out."""
    seen: list[Request] = []

    def note(pipe: Any, request: Request, *_: Any) -> None:
        seen.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(generate_module, "make_all", note)
    return seen


def save_refiner(folder: Path) -> Path:
    """A tiny pipeline with the layout of SDXL's refiner: four resolutions, one text encoder, an aesthetic score."""
    text = tiny_pipelines.CLIPTextModelWithProjection(tiny_pipelines.text_config(8, 8))
    layout = {k: v for k, v in unets.CONFIGS["sdxl"].items() if k.startswith("addition")}
    unet = unets.build(
        "sd21", **layout, projection_class_embeddings_input_dim=8 + 5 * 8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    pipe = StableDiffusionXLImg2ImgPipeline(
        vae=tiny_pipelines.new_vae(), text_encoder=None, text_encoder_2=text, tokenizer=None,
        tokenizer_2=tiny_pipelines.new_tokenizer(folder / "tokenizer_2"), unet=unet,
        scheduler=DDIMScheduler(**tiny_pipelines.SCHEDULE), requires_aesthetics_score=True,
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return folder


def lora(path: Path, unet: Any, names: tuple[str, ...] = (CONV, LINEAR), seed: int = 0) -> dict[str, Tensor]:
    """Write a LoRA of rank 2 for layers of `unet`; returns what it adds to each weight at weight 1."""
    weights, added = {}, {}
    for n, name in enumerate(names):
        weight = unet.get_submodule(name).weight
        down = unets.noise(2, *weight.shape[1:], seed=seed + 2 * n)
        up = unets.noise(weight.shape[0], 2, *(1 for _ in weight.shape[2:]), seed=seed + 2 * n + 1)
        weights |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
        added[name] = 0.1 * (up.flatten(1) @ down.flatten(1)).view_as(weight)
        weights[f"unet.{name}.lora_B.weight"] *= 0.1
    save_file(weights, path)
    return added


def make(pipe: Any, settings: fs.Settings | None = None, **changes: Any) -> Tensor:
    values: dict[str, Any] = {"width": TWICE, "height": TWICE, "seed": 3, "steps": 2, "cfg": 5.0, **changes}
    return sample_latents(pipe, Request("a cat", settings=settings, **values), [3])[0]


# --- the method's options ---


def test_options_of_the_method_become_settings(cli: Cli, models: dict[str, Path], asked: list[Request]) -> None:
    code, _, _ = cli(
        models["sd15"], "--dilation", 1.5, "--no-filter", "--stopband-strong", 0.1, "--stopband-weak", 0.3,
        "--amp-guidance", 2.4, "--method", "scalecrafter", "--low-memory", "--fast",
    )  # fmt: skip
    assert code == 130
    assert asked[0].settings == fs.Settings(
        dilation=1.5, filter=False, stopband_strong=0.1, stopband_weak=0.3, amp_guidance=2.4, method="scalecrafter",
        low_memory=True, fast=True, rounding="auto",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "freeu"),
    [([], True), (["--freeu"], True), (["--no-freeu"], False), (["--method", "scalecrafter"], False)],
)
def test_freeu_is_on_where_the_authors_have_it(
    cli: Cli,
    models: dict[str, Path],
    asked: list[Request],
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    freeu: bool,
) -> None:
    pipe = load_pipeline(models["sdxl"])
    pipe.unet = unets.build("sdxl", block_out_channels=(8, 16, 640))
    monkeypatch.setattr(generate_module, "load", lambda *_: pipe)
    assert cli(models["sdxl"], *args)[0] == 130
    assert asked[0].settings is not None
    assert asked[0].settings.freeu is freeu


def test_freeu_is_not_claimed_where_no_layer_has_its_width(
    cli: Cli, models: dict[str, Path], asked: list[Request]
) -> None:
    assert cli(models["sdxl"])[0] == 130
    assert asked[0].settings == fs.Settings(rounding="auto")


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--dilation", "0.5"], ["dilation = 0.5", "from 1 to 16"]),
        (["--amp-guidance", "11"], ["amp_guidance = 11", "from 1 to 10"]),
        (["--stopband-weak", "2"], ["stopband_weak = 2", "from 0 to 1"]),
        (["--lora", "absent.safetensors"], ["lora = 'absent.safetensors'", "a file that exists"]),
        (["--lora", "present:much"], ["lora = 'present:much'", "FILE:WEIGHT with a number from -10 to 10"]),
        (["--embedding", "absent.pt:cat"], ["embedding = 'absent.pt'", "a file that exists"]),
        (["--embedding", "present:two words"], ["embedding = 'present:two words'", "without spaces"]),
        (["--controlnet", "x"], ["control_image = ''", "both a --controlnet and a --control-image"]),
        (["--control-image", "picture.png"], ["controlnet = ''", "or neither"]),
        (["--controlnet", "x", "--control-image", "present"], ["control_image = 'present'", "a picture"]),
        (
            ["--controlnet", "x", "--control-image", "picture.png", "--control-scale", "3"],
            ["control_scale = 3", "from 0 to 2"],
        ),
        (["--refiner", "x", "--refiner-at", "1"], ["refiner_at = 1", "a number between 0 and 1"]),
        (["--refiner", "x"], ["refiner = 'x'", "only SDXL has one"]),
        (["--lora", "present"], ["lora = 'present' does not fit the model"]),
        (["--lora", "wrong.safetensors"], ["does not fit the model", "size mismatch"]),
        (["--embedding", "present"], ["embedding = 'present' does not fit the model"]),
        (["--controlnet", "./x", "--control-image", "picture.png"], ["controlnet = './x' could not be loaded"]),
    ],
)
def test_mistakes_are_answered_in_one_line(
    cli: Cli, models: dict[str, Path], tmp_path: Path, args: list[str], parts: list[str]
) -> None:
    (tmp_path / "present").write_text("neither weights nor a picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    other = unets.build("sd15", block_out_channels=(12, 12, 24, 24))
    lora(tmp_path / "wrong.safetensors", other)
    code, out, err = cli(models["sd15"], *args)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert [part for part in ["error: ", *parts] if part not in err] == []
    assert not (tmp_path / "made").exists()


# --- LoRA ---


def test_loras_add_up_in_the_weights(models: dict[str, Path], tmp_path: Path) -> None:
    pipe = load_pipeline(models["sd15"])
    before = {k: v.clone() for k, v in pipe.unet.state_dict().items()}
    modules = [(name, type(module)) for name, module in pipe.unet.named_modules()]
    first = lora(tmp_path / "first.safetensors", pipe.unet)
    second = lora(tmp_path / "second.safetensors", pipe.unet, (CONV,), seed=9)
    add_loras(pipe, [(tmp_path / "first.safetensors", 0.5), (tmp_path / "second.safetensors", -2.0)])
    after = pipe.unet.state_dict()
    expected = {CONV: 0.5 * first[CONV] - 2.0 * second[CONV], LINEAR: 0.5 * first[LINEAR]}
    assert {k.removesuffix(".weight") for k in before if not torch.equal(before[k], after[k])} == set(expected)
    for name, change in expected.items():
        torch.testing.assert_close(after[name + ".weight"], before[name + ".weight"] + change, atol=1e-5, rtol=0)
    # No wrapper is left, so that the convolution is found, low-passed and dilated like any other.
    assert type(pipe.unet.get_submodule(CONV)) is torch.nn.Conv2d
    assert [(name, type(module)) for name, module in pipe.unet.named_modules()] == modules


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_fouriscale_on_top_of_a_lora_equals_hand_merged_weights(
    models: dict[str, Path], tmp_path: Path, sessions: list[fs.Session], family: str
) -> None:
    pipe, other = load_pipeline(models[family]), load_pipeline(models[family])
    added = lora(tmp_path / "a.safetensors", pipe.unet)
    plain = make(pipe), make(pipe, fs.Settings())
    add_loras(pipe, [(tmp_path / "a.safetensors", 0.0)])
    weights = pipe.unet.state_dict()
    assert [k for k, v in other.unet.state_dict().items() if not torch.equal(v, weights[k])] == []
    torch.testing.assert_close(make(pipe, fs.Settings()), plain[1], atol=1e-4, rtol=0)
    add_loras(pipe, [(tmp_path / "a.safetensors", 0.7)])
    with torch.no_grad():
        for name, change in added.items():
            other.unet.get_submodule(name).weight += 0.7 * change
    for settings, without in zip((None, fs.Settings()), plain, strict=True):
        merged = make(pipe, settings)
        assert unets.largest(merged - without) > 1e-2
        torch.testing.assert_close(merged, make(other, settings), atol=1e-4, rtol=0)
    dilated = [layer.name for layer in sessions[-1].plan.layers]
    assert CONV in dilated
    assert unets.largest(make(pipe) - make(pipe, fs.Settings())) > 1e-2


def test_a_lora_from_the_command_line(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:
    unet = load_pipeline(models["sd15"]).unet
    for name, seed in (("a", 0), ("b", 7)):
        lora(tmp_path / f"{name}.safetensors", unet, seed=seed)
    runs = {
        "none": [], "zero": ["a.safetensors:0"], "one": ["a.safetensors"], "half": ["a.safetensors:0.5"],
        "both": ["a.safetensors", "b.safetensors:-1.5"],
    }  # fmt: skip
    pictures, texts = {}, {}
    for name, files in runs.items():
        code, _, err = cli(models["sd15"], *(w for file in files for w in ("--lora", file)), "--out", name)
        assert (code, err) == (0, "")
        with Image.open(tmp_path / name / "00001-0-a-cat.png") as image:
            pictures[name], texts[name] = image.tobytes(), image.text["parameters"].split("\n")[0]  # type: ignore[attr-defined]
    assert pictures["none"] == pictures["zero"]
    assert len(set(pictures.values())) == 4
    assert texts["none"] == "a cat"
    assert texts["both"] == "a cat <lora:a:1> <lora:b:-1.5>"


def test_names_of_loras_and_embeddings(tmp_path: Path) -> None:
    for name in ("a.safetensors", "odd:0.3"):
        (tmp_path / name).touch()
    assert parse_lora(f"{tmp_path}/a.safetensors") == (tmp_path / "a.safetensors", 1.0)
    assert parse_lora(f"{tmp_path}/a.safetensors:-0.25") == (tmp_path / "a.safetensors", -0.25)
    assert parse_lora(f"{tmp_path}/odd:0.3") == (tmp_path / "odd:0.3", 1.0)
    assert parse_lora(f"{tmp_path}/odd:0.3:0.4") == (tmp_path / "odd:0.3", 0.4)
    assert parse_embedding(f"{tmp_path}/a.safetensors:<cat>") == (tmp_path / "a.safetensors", "<cat>")
    assert parse_embedding(f"{tmp_path}/a.safetensors") == (tmp_path / "a.safetensors", "a")


# --- textual inversion ---


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_an_embedding_is_called_by_its_token(models: dict[str, Path], tmp_path: Path, family: str) -> None:
    pipe = load_pipeline(models[family])
    path = tmp_path / "a.safetensors"
    width = pipe.text_encoder.config.hidden_size
    vectors = unets.noise(2, width, seed=5)
    save_file({"clip_l": vectors, "clip_g": -vectors} if family == "sdxl" else {"emb_params": vectors}, path)
    other = make(pipe)
    add_embedding(pipe, path, "zed")
    assert torch.equal(make(pipe), other)  # a prompt without the token is as it was
    ids = pipe.tokenizer(pipe.maybe_convert_prompt("a zed", pipe.tokenizer), return_tensors="pt").input_ids[0]
    table = pipe.text_encoder.get_input_embeddings().weight.detach()
    torch.testing.assert_close(table[ids[2:4]], vectors)
    if family == "sdxl":
        torch.testing.assert_close(pipe.text_encoder_2.get_input_embeddings().weight.detach()[ids[2:4]], -vectors)


def test_an_embedding_from_the_command_line(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:
    save_file({"emb_params": 3 * unets.noise(1, 8, seed=5)}, tmp_path / "zed.safetensors")
    torch.save({"string_to_param": {"*": 3 * unets.noise(1, 8, seed=5)}, "name": "other"}, tmp_path / "old.pt")
    for folder, args in {"a": [], "b": ["zed.safetensors"], "c": ["old.pt:zed"]}.items():
        code, _, err = cli(
            models["sd15"], "--prompt", "a zed", "--out", folder, *(w for file in args for w in ("--embedding", file))
        )
        assert (code, err) == (0, "")
    a, b, c = (Image.open(tmp_path / folder / "00001-0-a-zed.png").tobytes() for folder in "abc")
    assert a != b
    assert b == c
    code, _, err = cli(models["sd15"], "--prompt", "a zed", "--out", "a", "--embedding", "zed.safetensors")
    assert code == 2  # a finished picture counts only where it was made with the same embeddings
    assert "embeddings" in err


def test_an_embedding_of_another_width_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    save_file({"emb_params": torch.zeros(1, 5)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"^embedding = '.*a\.safetensors' does not fit the model: "):
        add_embedding(load_pipeline(models["sd15"]), tmp_path / "a.safetensors", "zed")


# --- single files ---


@pytest.mark.skipif(not bundled.folder().is_dir(), reason="the bundled model is not in this checkout")
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_single_file_checkpoints(cli: Cli, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"single.{ending}"
    export(bundled.folder(), tmp_path / "single.safetensors")
    if ending == "ckpt":
        torch.save({"state_dict": load_file(tmp_path / "single.safetensors")}, path)
    single, folder = load_pipeline(path, config=str(bundled.folder())), load_pipeline(bundled.folder())
    assert single.scheduler.config.prediction_type == "v_prediction"
    for part in ("unet", "vae", "text_encoder"):
        found, expected = (getattr(pipe, part).state_dict() for pipe in (single, folder))
        assert found.keys() == expected.keys()
        assert [k for k in expected if not torch.equal(found[k], expected[k])] == []
    code, _, err = cli(path, "--single-file-config", bundled.folder(), "--base", "64x64")
    assert (code, err) == (0, "")
    assert cli(bundled.folder(), "--base", "64x64", "--out", "folder")[0] == 0
    pictures = [Image.open(tmp_path / where / "00001-0-a-cat.png").tobytes() for where in ("made", "folder")]
    assert pictures[0] == pictures[1]


# --- SD 2.1 at 768 ---


def test_sd21_768_is_planned_from_its_own_training_size() -> None:
    unet = unets.build("sd21", sample_size=96)
    plan = fs.plan(unet, 1536, 1536)
    assert (plan.family, plan.base, plan.dilation, plan.active) == ("sd21", (768, 768), 2.0, True)
    assert not fs.plan(unet, 768, 768).active
    assert fs.plan(unet, 1024, 768).dilation == 2.0
    assert fs.plan(unet, 2304, 768).dilation == 3.0


@pytest.mark.parametrize("steps", [3, 4])
def test_v_prediction_equals_a_run_by_hand(models: dict[str, Path], tmp_path: Path, steps: int) -> None:
    """The whole trajectory by the formulas of DDIM and v-prediction, with the naive three-row UNet."""
    pipe = load_pipeline(models["sd21"])
    pipe.unet = unets.build("sd21", sample_size=12)  # 768 px : 96 = 512 px : 64
    set_scheduler(pipe, "ddim")
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    settings = fs.Settings(start=0.25, stop=0.75)
    ours = make(pipe, settings, width=192, height=192, steps=steps, eta=0.0)

    schedule = tiny_pipelines.SCHEDULE
    betas = torch.linspace(schedule["beta_start"] ** 0.5, schedule["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    with torch.no_grad():
        cond, uncond = pipe.encode_prompt("a cat", "cpu", 1, True, "")
    x = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(3))
    gap = 1000 // steps
    for i in range(steps):
        t = (steps - 1 - i) * gap + 1
        eps3 = naive.unet_rows(
            pipe.unet, x.repeat(3, 1, 1, 1), t, torch.cat([uncond, cond, cond]), family="sd21", latent_hw=(24, 24),
            base_px=(96, 96), D=2, i=i, start=round(0.25 * steps), stop=round(0.75 * steps),
        )  # fmt: skip
        v = eps3[0] + 5.0 * (eps3[2] - eps3[0])
        a, s = alphas[t].sqrt().item(), (1 - alphas[t]).sqrt().item()
        last = alphas[t - gap] if t - gap >= 0 else alphas[0]
        x = last.sqrt().item() * (a * x - s * v) + (1 - last).sqrt().item() * (a * v + s * x)
    assert unets.largest(ours - x) < 1e-3 * unets.largest(x)
    plain = make(pipe, None, width=192, height=192, steps=steps, eta=0.0)
    assert unets.largest(plain - x) > 1e-2 * unets.largest(x)


# --- the refiner ---


def test_the_refiner_takes_over_at_its_timestep(models: dict[str, Path], sessions: list[fs.Session]) -> None:
    base, refiner = load_pipeline(models["sdxl"]), load_refiner(str(models["refiner"]), torch.float32, "cpu")
    before = unets.traces(base.unet), unets.traces(refiner.unet)
    told: list[int] = []
    times: dict[str, list[int]] = {"base": [], "refiner": []}
    sizes: dict[str, set[tuple[float, ...]]] = {"base": set(), "refiner": set()}
    handles = []
    for name, pipe, count in (("base", base, 6), ("refiner", refiner, 5)):

        def note(_: Any, args: Any, name: str = name) -> None:
            times[name].append(int(args[1]))

        def note_size(_: Any, args: Any, name: str = name, count: int = count) -> None:
            sizes[name].add(tuple(args[0].tolist()[-count:]))  # of the last row

        handles.append(pipe.unet.register_forward_pre_hook(note))
        handles.append(pipe.unet.add_time_proj.register_forward_pre_hook(note_size))
    request = Request(
        "a cat",
        TWICE,
        TWICE,
        3,
        fs.Settings(start=0.5, stop=0.95),
        steps=5,
        cfg=5.0,
        refiner=Refiner(refiner, 0.6, "r"),
    )
    result = sample(base, request, told.append)
    for handle in handles:
        handle.remove()
    assert torch.isfinite(result.latents).all()
    assert times["base"] == [801, 601, 401]
    assert times["refiner"] == [201, 1]
    assert sizes["base"] == {(64, 64, 0, 0, 64, 64)}
    assert sizes["refiner"] == {(64, 64, 0, 0, 6.0)}
    assert told == [1, 2, 3, 4, 5]
    first, second = sessions
    assert [progress for progress, _ in first.history] == [(0, 5), (1, 5), (2, 5)]
    assert [progress for progress, _ in second.history] == pytest.approx([1 - 201 / 999, 1 - 1 / 999])
    assert [d for _, d in second.history] == pytest.approx([1 + (0.95 - (1 - 201 / 999)) / 0.45, 1.0])
    assert (first.plan.family, second.plan.family, len(first.plan.layers)) == ("sdxl", "sdxl", 21)
    assert max(layer.level for layer in second.plan.layers) == 3
    assert (unets.traces(base.unet), unets.traces(refiner.unet)) == before
    assert "Refiner: r, Refiner switch at: 0.6" in result.parameters


@pytest.mark.parametrize("settings", [None, fs.Settings(start=0.6, stop=0.6), fs.Settings(start=0.9, stop=0.9)])
@pytest.mark.parametrize("at", [0.4, 0.6])
def test_the_same_model_as_refiner_changes_nothing(
    models: dict[str, Path], settings: fs.Settings | None, at: float
) -> None:
    """One model in two parts is one run; with these windows, timesteps and counted steps dilate the same steps."""
    base, refiner = load_pipeline(models["sdxl"]), load_refiner(str(models["sdxl"]), torch.float32, "cpu")
    whole = make(base, settings, steps=5, eta=0.0)
    parts = make(base, settings, steps=5, eta=0.0, refiner=Refiner(refiner, at))
    assert unets.largest(whole - parts) < 1e-4 * unets.largest(whole)
    if settings is not None:
        assert unets.largest(whole - make(base, None, steps=5, eta=0.0)) > 1e-2


def test_nothing_is_left_when_the_refiner_fails(models: dict[str, Path]) -> None:
    base, refiner = load_pipeline(models["sdxl"]), load_refiner(str(models["refiner"]), torch.float32, "cpu")
    before = unets.traces(base.unet), unets.traces(refiner.unet)

    def give_up(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = refiner.unet.mid_block.register_forward_hook(give_up)
    with pytest.raises(KeyboardInterrupt):
        make(base, fs.Settings(stop=1.0), steps=5, refiner=Refiner(refiner, 0.4))
    handle.remove()
    assert (unets.traces(base.unet), unets.traces(refiner.unet)) == before


def test_a_refiner_from_the_command_line(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:
    code, _, err = cli(models["sdxl"], "--refiner", models["refiner"], "--refiner-at", 0.5)
    assert (code, err) == (0, "")
    with Image.open(tmp_path / "made" / "00001-0-a-cat.png") as image:
        assert "Refiner: refiner, Refiner switch at: 0.5" in image.text["parameters"]  # type: ignore[attr-defined]
    code, _, err = cli(models["sdxl"], "--refiner", models["sd15"])
    assert code == 2
    assert "is a StableDiffusionPipeline; needed is SDXL's refiner or an SDXL model" in err
    index = json.loads((models["refiner"] / "model_index.json").read_text())
    assert index["text_encoder"] == [None, None]
