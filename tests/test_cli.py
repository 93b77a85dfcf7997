"""The command line: what it makes, what it says, and one line with exit code 2 for every mistake of its user."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fouriscale.cli.batch as batch_module
import fouriscale.cli.generate as generate_module
import tiny_pipelines
from fouriscale import Settings
from fouriscale.cli import main
from fouriscale.cli.errors import ProcessError
from fouriscale.hosts.diffusers.pictures import save_png, sheet, slug
from fouriscale.settings.infotext import from_fields
from fouriscale.settings.presets import Preset
from test_infotext import parsed

TWICE = 2 * tiny_pipelines.BASE
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    found = {family: tiny_models[family] for family in ("sd15", "sdxl")}
    found["dit"] = tiny_pipelines.save_transformer(root / "dit")
    found["broken"] = root / "broken"
    shutil.copytree(found["sd15"], found["broken"])
    (found["broken"] / "text_encoder" / "model.safetensors").write_bytes(b"no weights")
    for name in ("no tokenizer", "no vocabulary"):
        found[name] = root / name.replace(" ", "-")
        shutil.copytree(found["sd15"], found[name])
    shutil.rmtree(found["no tokenizer"] / "tokenizer")
    for path in (found["no vocabulary"] / "tokenizer").glob("*o*.json"):
        path.unlink()
    return found


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Runs the command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fouriscale", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


def words(model: Path, *args: object) -> list[object]:
    """`generate` for a small picture, with `args` after what they may overrule."""
    size = ("--width", TWICE, "--height", TWICE, "--steps", 2)
    return ["generate", "--model", model, "--prompt", "a cat", *size, "--out", "made", *args]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def parameters(path: Path) -> str:
    with Image.open(path) as image:
        return image.text["parameters"]  # type: ignore[attr-defined, no-any-return]


# Mistakes that are found before a model is looked at.
EARLY = [
    (["generate", "--prompt", "a cat", "--width", "100"], ["width = 100", "a multiple of 8 from 64 to 16384"]),
    (["generate", "--prompt", "a cat", "--height", "32"], ["height = 32", "a multiple of 8"]),
    (["generate", "--prompt", "a cat", "--width", "wide"], ["Invalid value for '--width'", "valid int"]),
    (["generate"], ["Missing option '--prompt'"]),
    (["generate", "--prompt", "a cat", "--colour", "red"], ["No such option: --colour"]),
    (
        ["generate", "--prompt", "a cat", "--preset", "SD 9"],
        ["preset = 'SD 9'", "Auto, Reference, Balanced, Detail, "],
    ),
    (["generate", "--prompt", "a cat", "--scheduler", "plms"], ["scheduler = 'plms'", "one of ddim, ddpm, euler"]),
    (["generate", "--prompt", "a cat", "--method", "magic"], ["method = 'magic'", "one of plain, fouriscale"]),
    (["generate", "--prompt", "a cat", "--dtype", "int8"], ["dtype = 'int8'", "float32, float16, bfloat16"]),
    (["generate", "--prompt", "a cat", "--count", "0"], ["count = 0", "a whole number from 1"]),
    (["generate", "--prompt", "a cat", "--steps", "0"], ["steps = 0", "a whole number from 1"]),
    (["generate", "--prompt", "a cat", "--eta", "1.5"], ["eta = 1.5", "a number from 0 to 1"]),
    (["generate", "--prompt", "a cat", "--start", "0.7", "--stop", "0.2"], ["start = 0.7", "from 0 to stop (0.2)"]),
    (["generate", "--prompt", "a cat", "--base", "512"], ["base = '512'", "WIDTHxHEIGHT"]),
    (["generate", "--prompt", "a cat", "--base", "²x512"], ["base = '²x512'", "WIDTHxHEIGHT"]),
    (["generate", "--prompt", "a cat", "--base", "500x500"], ["base = (500, 500)", "multiples of 8"]),
    (["generate", "--prompt", " "], ["prompt = ' '", "some words"]),
    (["generate", "--prompt", "a cat", "--seed", str(2**64)], ["seed = 18446744073709551616", "from 0 to 1844674"]),
    (["generate", "--prompt", "a cat", "--seed", str(2**64 - 1), "--count", "2"], ["the last of 2 pictures' too"]),
    (["generate", "--prompt", "a cat", "--seed", "-1"], ["seed = -1", "a whole number from 0"]),
    (["generate", "--prompt", "a cat", "--steps", "1001"], ["steps = 1001", "from 1 to 1000"]),
    (["generate", "--prompt", "a cat", "--count", str(10**18)], ["count = 1000000000000000000", "to 1000000"]),
    (["generate", "--prompt", "a cat", "--cfg", "nan"], ["cfg = nan", "a number from 0 to 1000"]),
    (["generate", "--prompt", "a cat", "--cfg", "inf"], ["cfg = inf", "a number from 0 to 1000"]),
    (["generate", "--prompt", "a cat", "--base", "9" * 5000 + "x64"], ["base = '99", "WIDTHxHEIGHT"]),
    (["generate", "--prompt", "a cat", "--shard", "1/" + "9" * 5000], ["shard = '1/99"]),
    (["generate", "--prompt", "a \udcff cat"], ["argument = 'a \\udcff cat'", "text in UTF-8"]),
    (["generate", "--prompt", "a cat", "--negative", "\udcff"], ["argument = ", "text in UTF-8"]),
    (["demo", "--seed", "-1"], ["seed = -1", "a whole number from 0"]),
    (["evaluate", "--seed", str(2**64 - 9)], ["seed = 18446744073709551607", "a whole number from 0"]),
    (["evaluate", "--cfg", "nan"], ["cfg = nan", "a number from 0 to 1000"]),
    (["evaluate", "--methods", "x=" + '{"a":' * 50000], ["methods = ", "a JSON object"]),
    (["bench", "--device", "toaster"], ["device = 'toaster'", "cpu"]),
    (["plan", "--width", "512", "--height", "512", "--base", "9" * 5000 + "x9"], ["base = '99", "WIDTHxHEIGHT"]),
    (["generate", "--prompt", "absent.txt"], ["prompt = 'absent.txt'", "a readable UTF-8 text file"]),
    (["generate", "--prompt", "a cat", "--model", "no/such/model"], ["model = 'no/such/model'", "a folder"]),
    (["generate", "--prompt", "a cat", "--model", "missing"], ["model = 'missing'", "a folder"]),
    (["generate", "--prompt", "a cat", "--model", ".", "--device", "toaster"], ["device = 'toaster'", "cpu"]),
    (["generate", "--prompt", "a cat", "--model", ".", "--device", "hpu"], ["device = 'hpu'", "cpu"]),
    (["paint"], ["No such command 'paint'"]),
    (["plan", "--width", "1024"], ["Missing option '--height'"]),
    (["plan", "--width", "1024", "--height", "1024", "--family", "sd3"], ["family = 'sd3'", "sd15, sd21, sdxl"]),
    (["plan", "--width", "1000", "--height", "1001"], ["height = 1001", "a multiple of 8"]),
    (["plan", "--width", "2048", "--height", "2048", "--preset", "sdxl 2048x2048"], ["preset = ", "a preset for sd15"]),
    (["demo", "--prompts", " , "], ["prompts = ' , '", "words"]),
    (["evaluate", "--sizes", "1x,3x"], ["sizes = '3x'", "one of 1x, 2x, 1:2, 2:1, 4x"]),
    (["evaluate", "--sizes", ""], ["sizes = ''", "one of 1x"]),
    (["evaluate", "--samples", "0"], ["samples = 0", "a whole number from 1"]),
    (["evaluate", "--model", "missing/model/here"], ["model = 'missing/model/here'", "a folder"]),
]


def assert_one_line(result: tuple[int, str, str], parts: list[str]) -> None:
    code, out, err = result
    assert code == 2
    assert len(err.splitlines()) == 1
    assert len(err) < 1100
    assert err.startswith("error: ")
    assert [part for part in parts if part not in err] == []
    assert out == ""


@pytest.mark.parametrize(("args", "parts"), EARLY, ids=[ascii(" ".join(args))[:80] for args, _ in EARLY])
def test_mistakes_are_answered_in_one_line(cli: Cli, tmp_path: Path, args: list[str], parts: list[str]) -> None:
    assert_one_line(cli(*args), parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "args", "parts"),
    [
        ("sd15", ["--preset", "SDXL 2048x2048"], ["preset = 'SDXL 2048x2048'", "one for sd15, which this model is"]),
        ("sd15", ["--layers", "nothing.*"], ["layers = 'nothing.*'", "no such convolution"]),
        ("dit", [], ["dit' is a DiTPipeline", "a UNet of Stable Diffusion 1.x, 2.x or XL"]),
        ("broken", [], ["broken' could not be loaded", "header"]),
        ("no tokenizer", [], ["no-tokenizer' could not be loaded: it has no folder tokenizer"]),
        ("no vocabulary", [], ["no-vocabulary' could not be loaded: its tokenizer has no vocabulary"]),
    ],
)
def test_models_and_settings_that_do_not_fit(
    cli: Cli, models: dict[str, Path], tmp_path: Path, model: str, args: list[str], parts: list[str]
) -> None:
    assert_one_line(cli(*words(models[model], *args)), parts)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "made").write_text("not a folder")
    code, _, err = cli(*words(models["sd15"]))
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "'made'" in err


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xff\xfe\x00"])
def test_prompt_files_without_prompts(cli: Cli, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    assert_one_line(cli("generate", "--prompt", "prompts.txt"), ["prompt = 'prompts.txt'", "file"])


def test_prompts_from_a_file(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeffA cat, sitting: up\n\n  Ein größerer Hund!  \n", encoding="utf-8")
    code, out, err = cli(
        *words(models["sd15"], "--prompt", "prompts.txt", "--count", 2, "--seed", 7, "--start", 0.1, "--stop", 0.95),
        *("--layers", "mid_block.*, down_blocks.2.*", "--no-guidance", "--negative", "a dog, big", "--cfg", 6),
    )
    assert (code, err) == (0, "")
    names = [
        "00001-7-a-cat-sitting-up.png", "00001-8-a-cat-sitting-up.png", "00002-7-ein-gr-erer-hund.png",
        "00002-8-ein-gr-erer-hund.png",
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == names
    assert [line.split()[0] for line in out.splitlines()[1:] if line] == [str(Path("made") / name) for name in names]
    assert out.startswith(f"FouriScale for sd15, {TWICE}×{TWICE}, base 64×64: dilation 2, estimated 1.")

    settings = Settings(
        start=0.1, stop=0.95, layers="mid_block.*, down_blocks.2.*", guidance=False, rounding="auto"
    )  # fmt: skip
    for name, (prompt, seed) in zip(
        names, [(p, s) for p in ("A cat, sitting: up", "Ein größerer Hund!") for s in (7, 8)], strict=True
    ):
        text = parameters(tmp_path / "made" / name)
        assert text.split("\n")[:2] == [prompt, "Negative prompt: a dog, big"]
        fields = parsed(text)
        assert from_fields(fields) == settings.replace(coarse=0.0)  # a text that names none had none
        assert {k: v for k, v in fields.items() if not k.startswith("FouriScale ")} == {
            "Steps": "2", "Sampler": "DDIM", "CFG scale": "6.0", "Seed": str(seed), "Size": f"{TWICE}x{TWICE}",
            "Model": "sd15", "Eta DDIM": "1.0", "FouriScale": "True",
        }  # fmt: skip
        assert fields["FouriScale preset"] == "Custom"
        assert pixels(tmp_path / "made" / name).shape == (TWICE, TWICE, 3)

    # Picture n is what seed + n makes by itself.
    pictures = {name: pixels(tmp_path / "made" / name) for name in names}
    assert (pictures[names[0]] != pictures[names[1]]).mean() > 0.5
    code, _, _ = cli(
        *words(models["sd15"], "--prompt", "A cat, sitting: up", "--seed", 8, "--start", 0.1, "--stop", 0.95),
        *("--layers", "mid_block.*, down_blocks.2.*", "--no-guidance", "--negative", "a dog, big", "--cfg", 6),
        *("--out", "again"),
    )
    assert code == 0
    assert np.array_equal(pixels(tmp_path / "again" / names[1]), pictures[names[1]])


def test_plain_has_no_keys_of_fouriscale(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:
    for method, folder in (("plain", "a"), ("fouriscale", "b")):
        code, out, _ = cli(*words(models["sd15"], "--method", method, "--out", folder, "--start", 0.3))
        assert code == 0
        assert out.startswith("plain, 128×128\n" if method == "plain" else "FouriScale for sd15")
    plain, changed = (tmp_path / folder / "00001-0-a-cat.png" for folder in ("a", "b"))
    assert "FouriScale" not in parameters(plain)
    added = "FouriScale: True, FouriScale preset: Custom, FouriScale start: 0.3, FouriScale stop: 0.6"
    assert f"{parameters(plain)}, {added}" == parameters(changed)
    assert (pixels(plain) != pixels(changed)).mean() > 0.01


def test_a_preset_gives_its_settings_and_how_to_sample(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:
    code, _, err = cli(*words(models["sd15"], "--preset", "sd1.5 2048X1024", "--stop", 0.8))
    assert (code, err) == (0, "")
    fields = parsed(parameters(tmp_path / "made" / "00001-0-a-cat.png"))
    assert fields["CFG scale"] == "7.5"
    assert from_fields(fields) == Settings(start=0.4, stop=0.8, coarse=0.0)  # a text that names none had none


PRESET = Preset("Mine", "sd15", (192, 128), Settings(), {"scheduler": "euler", "eta": 0.5, "steps": 3, "cfg": 2.0})
OWN = {"width": 192, "height": 128, "scheduler": "euler", "eta": 0.5, "steps": 3, "cfg": 2.0}


@pytest.mark.parametrize(
    ("args", "given"),
    [
        ([], {}),
        (["--width", 64, "--scheduler", "ddim", "--steps", 4], {"width": 64, "scheduler": "ddim", "steps": 4}),
        (["--height", 64, "--eta", 0, "--cfg", 1], {"height": 64, "eta": 0.0, "cfg": 1.0}),
    ],
)
def test_a_preset_says_size_and_how_to_sample_unless_that_is_given(
    cli: Cli, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, args: list[object], given: dict[str, Any]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(generate_module.preset_files, "load", lambda: [PRESET])
    monkeypatch.setattr(generate_module, "make_all", lambda pipe, request, *_: asked.append((pipe, request)))
    assert cli("generate", "--model", models["sd15"], "--prompt", "a cat", "--preset", "mine", *args)[0] == 0
    pipe, request = asked[0]
    expected = {**OWN, **given}
    assert {name: getattr(request, name) for name in OWN} == expected
    assert (
        type(pipe.scheduler).__name__
        == {"euler": "EulerDiscreteScheduler", "ddim": "DDIMScheduler"}[expected["scheduler"]]
    )


def test_a_presets_scheduler_that_is_none(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = dataclasses.replace(PRESET, run={"scheduler": "plms"})
    monkeypatch.setattr(generate_module.preset_files, "load", lambda: [bad])
    assert_one_line(cli("generate", "--prompt", "a cat", "--preset", "mine"), ["scheduler = 'plms'", "one of ddim"])


def test_the_first_of_several_processes_speaks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them see a mistake; what befell one of them it says itself."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        for args in (["paint"], ["generate", "--prompt", "a cat", "--steps", 0]):
            code, _, err = cli(*args)
            assert (code, len(err.splitlines())) == (2, lines)

    def fail(*_: Any) -> None:
        raise ProcessError("process 1 has no device")

    monkeypatch.setattr(generate_module.preset_files, "find", fail)
    assert cli("generate", "--prompt", "a cat") == (2, "", "error: process 1 has no device\n")


def test_an_interrupt_while_a_model_is_loaded_is_silent(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generate_module, "load", load)
    assert cli("generate", "--prompt", "a cat") == (130, "", "")


@pytest.mark.parametrize("start", [["-m", "fouriscale"], ["-c", "from fouriscale.cli import main; main()"]])
def test_an_interrupt_during_the_start_is_silent(tmp_path: Path, start: list[str]) -> None:
    """The interrupt comes in the middle of the first import that takes its time."""
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nassert False\n")
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    done = subprocess.run(
        [sys.executable, *start, "presets"], capture_output=True, text=True, check=False, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background jobs
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_terminal_without_our_characters(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    assert cli("presets")[0] == 0
    shown.flush()
    assert b"1024?1024" in shown.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("model", "cfg", "steps"), [("sd15", "7.5", "50"), ("sdxl", "5.0", "50")])
def test_defaults_follow_the_family(
    cli: Cli, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, model: str, cfg: str, steps: str
) -> None:
    asked = []

    def sample(pipe: Any, request: Any, *_: Any) -> None:
        asked.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_module, "sample_latents", sample)
    args = ["generate", "--model", models[model], "--prompt", "a cat", "--width", 128, "--height", 128]
    code, _, _ = cli(*args)
    assert code == 130
    (request,) = asked
    assert (str(request.cfg), str(request.steps), request.scheduler, request.eta) == (cfg, steps, "ddim", 1.0)


def test_other_schedulers_are_named_and_used(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:
    for scheduler in ("euler", "heun"):
        code, _, err = cli(*words(models["sdxl"], "--scheduler", scheduler, "--out", scheduler))
        assert (code, err) == (0, "")
        fields = parsed(parameters(tmp_path / scheduler / "00001-0-a-cat.png"))
        assert fields["Sampler"] == scheduler.capitalize()
        assert "Eta DDIM" not in fields
    first, second = (pixels(tmp_path / s / "00001-0-a-cat.png") for s in ("euler", "heun"))
    assert (first != second).mean() > 0.01


def test_an_interrupt_keeps_what_is_finished(
    cli: Cli, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    sample = batch_module.sample_latents

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        made.append(args[1].seed)
        if len(made) == 2:
            raise KeyboardInterrupt
        return sample(*args, **kwargs)

    monkeypatch.setattr(batch_module, "sample_latents", interrupted)
    code, _, err = cli(*words(models["sd15"], "--count", 3))
    assert code == 130
    assert err == "interrupted; the finished pictures are kept\n"
    assert made == [0, 1]
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["00001-0-a-cat.png"]
    assert pixels(tmp_path / "made" / "00001-0-a-cat.png").std() > 1
    assert "Seed: 0" in parameters(tmp_path / "made" / "00001-0-a-cat.png")


def test_a_picture_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (8, 8), "red")
    path = tmp_path / "new" / "picture.png"
    save_png(image, path, "größer, 猫")
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]
    assert parameters(path) == "größer, 猫"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    before = path.read_bytes()

    def half(self: Image.Image, target: Any, **_: Any) -> None:
        target.write(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        save_png(image, path, "new")
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A cat!", "a-cat"),
        ("  ../..  ", "picture"),
        ("猫", "picture"),
        ("a" * 60, "a" * 48),
        ("x" * 47 + " y", "x" * 47),
    ],
)
def test_prompts_in_file_names(text: str, name: str) -> None:
    assert slug(text) == name


def test_sheet_holds_every_picture_at_its_scale() -> None:
    red, blue = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (20, 60), "blue")
    page = sheet([[("one", red)], [("two", blue), ("three", red)]], "title", scale=0.5)
    shown = np.asarray(page)
    assert (shown == (255, 0, 0)).all(-1).sum() == 2 * 20 * 10
    assert (shown == (0, 0, 255)).all(-1).sum() == 10 * 30


def test_presets_lists_the_figures(cli: Cli) -> None:
    code, out, err = cli("presets")
    assert (code, err) == (0, "")
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert rows[0] == ["preset", "family", "size", "dilation", "start", "stop", "estimated time"]
    assert len(rows) == 16
    assert rows[1:4] == [["Reference", "any", "any"], ["Balanced", "any", "any"], ["Detail", "any", "any"]]
    assert rows[4] == ["SD 1.5 1024x1024", "sd15", "1024×1024", "2", "0.2", "0.6", "1.20 × plain"]
    assert rows[14][:6] == ["SDXL 4096x2048", "sdxl", "4096×2048", "3", "0.4", "0.7"]
    assert all(1.1 < float(row[6].split()[0]) < 1.5 for row in rows[4:])


@pytest.mark.parametrize(
    ("args", "figures"),
    [
        (
            ["--width", 1024, "--height", 1024],
            [
                "FouriScale for sd15, 1024×1024, base 512×512: dilation 2, estimated 1.20 times the plain run",
                "full until 20% of the trajectory, annealed until 60%",
                "stop-bands: strong 0, weak 0",
                "of 50 steps: 0–29 dilation 2, 30–49 plain",
                "34 convolutions:",
                "up_blocks.2.upsamplers.0.conv",
            ],
        ),
        (
            ["--width", 4096, "--height", 2048, "--family", "sdxl"],
            [
                "FouriScale for sdxl, 4096×2048, base 1408×704: dilation 3, estimated 1.30 times the plain run",
                "0–27 dilation 3 (weak 2), 28–31 dilation 2, 32–34 dilation 2 (weak 1), 35–49 plain",
                "stop-bands: strong 0.6, weak 0.6",
                "21 convolutions:",
            ],
        ),
        (
            ["--width", 1024, "--height", 1024, "--preset", "sd15 2048x2048", "--base", "256x512"],
            ["base 256×512: dilation 4", "full until 40% of the trajectory, annealed until 70%"],
        ),
        (
            ["--width", 512, "--height", 512],
            ["nothing to do: 512×512 is not larger than the 512×512 that the model was trained at"],
        ),
    ],
)
def test_plan_says_what_would_be_done(cli: Cli, args: list[object], figures: list[str]) -> None:
    code, out, err = cli("plan", *args)
    assert (code, err) == (0, "")
    assert [figure for figure in figures if figure not in out] == []


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_help_lists_the_commands(cli: Cli, args: list[str]) -> None:
    code, out, err = cli(*args)
    assert (code, err) == (0, "")
    listed = re.findall(r"^  ([a-z]+)  ", out, re.MULTILINE)
    assert listed == ["demo", "generate", "evaluate", "bench", "presets", "plan", "ui"]


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fouriscale", "presets"], capture_output=True, text=True, encoding="utf-8", check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 16
    assert "SDXL 2560x2560" in done.stdout
