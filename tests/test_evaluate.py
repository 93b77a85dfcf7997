"""`fouriscale evaluate`: what it makes and writes, that a broken run goes on to the same bits, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fouriscale.lab.evaluate.run as command
import tiny_pipelines
from fouriscale import Settings, SettingsError, plan_family
from fouriscale import model as bundled
from fouriscale.cli import main
from fouriscale.lab.evaluate import methods, report, scores
from fouriscale.lab.evaluate.store import Store
from fouriscale.lab.measure import likeness, recognition
from fouriscale.lab.measure.objects import count_objects

Cli = Callable[..., tuple[int, str, str]]
TINY = (
    "--samples", 3, "--batch", 2, "--steps", 4, "--cfg", 3, "--sizes", "1x,1:2",
    "--methods", 'plain,fouriscale,hires-latent,hires-pixel,hard={"dilation": 3, "stop": 0.75}', "--prompt", "two.txt",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["sd15"]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Runs the command in a folder with two prompts: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "two.txt").write_text("a cat\na dog\n")

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fouriscale", "evaluate", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


def contents(folder: Path) -> dict[str, Any]:
    """Everything in a run's folder that is not a time: pixels, arrays, records and results."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "pictures").rglob("*.*")):
        if path.suffix == ".png":
            found[str(path.relative_to(folder))] = np.asarray(Image.open(path)).tobytes()
        else:
            with np.load(path) as arrays:
                found[str(path.relative_to(folder))] = {name: arrays[name].tobytes() for name in arrays.files}
    found["records"] = {k: {**vars(r), "seconds": 0} for k, r in Store(folder, None).records.items()}
    found["results"] = json.loads((folder / "results.json").read_text())
    for by_method in found["results"]["sizes"].values():
        for result in by_method.values():
            for name in ("seconds", "time_ratio"):
                result["values"].pop(name, None)
    return found


def test_a_run_and_the_same_run_broken_off(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = cli("--model", model, *TINY, "--out", "whole")
    assert (code, err) == (0, "")
    assert "24 pictures and whole/table.md" in out  # 3 each: the reference, two methods at 1x, five at 1:2

    # The figure of the whole run is looked at below; the parts are made of the same results, and need none.
    monkeypatch.setattr(report, "_figure", lambda *_: None)
    done, work = [], command.work

    def broken(*args: Any) -> None:
        if len(done) == 9:
            raise KeyboardInterrupt
        work(*args)
        done.append(args[-1])

    monkeypatch.setattr(command, "work", broken)
    assert cli("--model", model, *TINY, "--out", "parts")[0] == 130
    # The first block of samples comes first, in every method.
    order = [("1x", "reference"), ("1x", "plain"), ("1x", "hard"), *(("1:2", m) for m in MADE)]
    assert [(b.size, b.method.name) for b in done[:8]] == order
    assert [list(b.indices) for b in done] == [[0, 1]] * 8 + [[2]]
    # A picture is lost, and a line was being written.
    lost = next((tmp_path / "parts/pictures/1-2/hires-pixel").glob("00001*.png"))
    lost.unlink()
    with (tmp_path / "parts/records.jsonl").open("a") as file:
        file.write('{"method": "plain", "si')
    monkeypatch.setattr(command, "work", lambda *args: (done.append(args[-1]), work(*args)))
    done.clear()
    assert cli("--model", model, *TINY, "--out", "parts")[0] == 0
    assert len(done) == 16 - 9 + 1
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    done.clear()
    assert cli("--model", model, *TINY, "--out", "parts")[0] == 0
    assert done == []
    check_results(tmp_path / "whole")
    check_refusals(cli, model)


MADE = ("plain", "fouriscale", "hires-latent", "hires-pixel", "hard")


def check_results(folder: Path) -> None:
    """The numbers are those of the pictures on disk; every file is there."""
    results = json.loads((folder / "results.json").read_text())
    assert {k: list(v) for k, v in results["sizes"].items()} == {"1x": ["plain", "hard"], "1:2": list(MADE)}
    store = Store(folder, None)
    latents = {}
    for method in MADE:
        group = store.group(method, "1:2")
        assert [(i, r.seed, r.prompt) for i, r in group.items()] == [
            (0, 1000, "a cat"), (1, 1001, "a dog"), (2, 1002, "a cat"),
        ]  # fmt: skip
        latents[method] = np.stack([store.arrays(r, "latents") for r in group.values()])
        assert latents[method].shape == (3, 4, 16, 8)
        result = results["sizes"]["1:2"][method]
        for name in ("repetition", "tiles", "slope", "laplacian", "phases"):
            values = [r.metrics[name] for r in group.values()]
            assert result["values"][name][0] == pytest.approx(np.mean(values))
            theirs = [r.metrics[name] for r in store.group("fouriscale", "1:2").values()]
            if method != "fouriscale":
                difference = np.mean(values) - np.mean(theirs)
                assert result["difference_to_fouriscale"][name][0] == pytest.approx(difference)
        assert not {"one_object", "objects"} & set(result["values"])
        assert result["values"]["frechet"][0] > 0
    assert len({x.tobytes() for x in latents.values()}) == len(MADE)
    picture = np.asarray(Image.open(folder / (store.group("plain", "1:2")[1].file + ".png"))) / 255.0
    assert picture.shape == (128, 64, 3)
    again = scores.picture_metrics(picture, latents["plain"][1], None, 64)
    assert again == store.group("plain", "1:2")[1].metrics
    table = (folder / "table.md").read_text()
    assert table.count("### ") == 2
    assert table.count("| hires-pixel |") == 2  # values and differences
    for name, least in (("results.png", 400), ("sheet-1x.png", 150), ("sheet-1-2.png", 350)):
        with Image.open(folder / name) as image:
            assert image.width > least
    assert list(folder.rglob("*.partial")) == []


def check_refusals(cli: Cli, model: Path) -> None:
    for args, part in (
        (("--steps", 3), "differs in steps"),
        (("--seed", 3, "--batch", 1), "differs in batch, seed"),
        (("--methods", 'hard={"dilation": 2}'), "a new name"),
    ):
        code, _, err = cli("--model", model, *TINY, *args, "--out", "whole")
        assert code == 2
        assert part in err
        assert len(err.splitlines()) == 1


def test_bundled_model(cli: Cli, tmp_path: Path) -> None:
    args = ("--samples", 2, "--steps", 2, "--sizes", "1x,1.25x", "--methods", "enlarged,fouriscale", "--out", "made")
    code, out, err = cli(*args)
    assert (code, err) == (0, "")
    assert "10 pictures and made/table.md" in out  # 2 each: the reference, plain at 1x, three at 1.25x
    store = Store(tmp_path / "made", None)
    assert store.run["model"] == "bundled"
    assert (store.run["base"], store.run["cfg"], store.run["alpha"]) == (256, 4.0, True)
    for record in store.group("fouriscale", "1.25x").values():
        assert (record.width, record.height) == (320, 320)
        assert record.prompt == bundled.PROMPTS[record.index]
        alpha = np.clip(store.arrays(record, "latents")[bundled.ALPHA_CHANNEL] / bundled.LATENT_GAIN, 0, 1)
        assert record.metrics["objects"] == count_objects(alpha)
        assert record.metrics["one_object"] == (count_objects(alpha) == 1)
        picture = np.asarray(Image.open(store.folder / f"{record.file}.png")) / 255.0
        for side, far in likeness.distances(picture, record.prompt).items():
            assert record.metrics[f"distance_{side}"] == pytest.approx(far)
        assert record.metrics["probability"] == pytest.approx(recognition.probability(picture, record.prompt)[1])
        # What a larger picture has to beat is the base-size picture of the same seed, enlarged.
        small, enlarged = (
            Image.open(store.folder / f"{store.group(m, size)[record.index].file}.png")
            for m, size in (("plain", "1x"), ("enlarged", "1.25x"))
        )
        assert np.array_equal(small.resize((320, 320), Image.Resampling.LANCZOS), enlarged)
    results = json.loads((tmp_path / "made/results.json").read_text())["sizes"]["1.25x"]
    assert list(results) == ["plain", "enlarged", "fouriscale"]
    assert {"one_object", "distance_64", "recognised", "patch_frechet"} <= set(results["plain"]["values"])
    seconds = {m: [r.seconds for r in store.group(m, "1.25x").values()] for m in ("plain", "fouriscale")}
    ratio = sum(seconds["fouriscale"]) / sum(seconds["plain"])
    assert results["fouriscale"]["values"]["time_ratio"][0] == pytest.approx(ratio)
    # A report of less than there is, without a model.
    code, out, _ = cli("--report-only", "--sizes", "1.25x", "--methods", "plain", "--out", "made")
    assert code == 0
    assert list(json.loads((tmp_path / "made/results.json").read_text())["sizes"]["1.25x"]) == ["plain"]


def test_sdxl(cli: Cli, tmp_path: Path) -> None:
    folder = tiny_pipelines.save("sdxl", tmp_path / "sdxl")
    made = ["fouriscale", "scalecrafter", "hires-latent", "hires-pixel"]
    args = ("--samples", 1, "--steps", 3, "--sizes", "2x", "--methods", ",".join(made))
    code, _, err = cli("--model", folder, *args, "--prompt", "a cat", "--out", "made")
    assert (code, err) == (0, "")
    results = json.loads((tmp_path / "made/results.json").read_text())
    assert results["run"]["cfg"] == 5.0
    assert list(results["sizes"]["2x"]) == ["plain", *made]
    assert "frechet" not in results["sizes"]["2x"]["plain"]["values"]  # one picture is no set


def test_set_distances_tell_a_set_from_itself_and_from_another(tmp_path: Path, cli: Cli, model: Path) -> None:
    args = ("--model", model, "--samples", 6, "--steps", 1, "--sizes", "1x", "--methods", "plain", "--prompt", "a")
    assert cli(*args, "--out", "made")[0] == 0
    store = Store(tmp_path / "made", None)
    # Where the reference is the set itself, the distance is none.
    lines = [json.loads(line) for line in (tmp_path / "made/records.jsonl").read_text().split("\n") if line]
    same = [{**r, "method": "reference"} for r in lines if r["method"] == "plain"]
    text = "".join(json.dumps(r) + "\n" for r in [*lines, *same])
    shutil.copytree(store.folder, tmp_path / "same")
    (tmp_path / "same/records.jsonl").write_text(text)
    (itself,) = scores.Scores(Store(tmp_path / "same", None)).results(["1x"], ["plain"])
    (other,) = scores.Scores(store).results(["1x"], ["plain"])
    assert itself.values["frechet"].value == pytest.approx(0.0, abs=1e-3)
    assert itself.values["patch_frechet"].value == pytest.approx(0.0, abs=1e-3)
    assert other.values["frechet"].value > 1.0
    low, high = other.values["frechet"][1:]
    assert low <= other.values["frechet"].value <= high


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("fouriscale", ["plain", "fouriscale"]),
        ("mid, plain ,", ["plain", "mid"]),
        ('a={"base": [64, 64], "guidance": false},b={"hires": "latent"}', ["plain", "a", "b"]),
        ("all", list(methods.METHODS)),
    ],
)
def test_method_lists(text: str, names: list[str]) -> None:
    found = methods.parse_methods(text)
    assert [m.name for m in found] == names
    custom = {m.name: m for m in found}
    if "a" in custom:
        assert custom["a"].settings == Settings(base=(64, 64), guidance=False)
        assert custom["b"].definition == {"hires": "latent", "denoise": 0.55}
        assert custom["b"].settings is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "all, or some of plain"),
        ("fouriscale,magic", "'magic'"),
        ("a={", "JSON object"),
        ("a=3", "JSON object"),
        ("a={} b={}", "JSON object"),
        ('={"stop": 1}', "a name of letters"),
        ('../a={"stop": 1}', "a name of letters"),
        ("reference={}", "a name of letters"),
        ('plain={"stop": 1}', "a name that is not taken"),
        ('a={"stop": 2}', "stop = 2"),
        ('a={"colour": 2}', "unknown field"),
        ('a={"hires": "oil"}', '"latent" or "pixel"'),
        ('a={"hires": "pixel", "stop": 0.5}', '"latent" or "pixel"'),
        ('a={"hires": "pixel", "denoise": 1.5}', "from 0 to 1"),
    ],
)
def test_bad_method_lists(text: str, part: str) -> None:
    with pytest.raises(SettingsError) as error:
        methods.parse_methods(text)
    assert part in str(error.value)


def test_sizes() -> None:
    assert [methods.pixels(name, 256) for name in methods.SIZES] == [
        (256, 256), (512, 512), (256, 512), (512, 256), (1024, 1024), (320, 320), (384, 384), (360, 360),
    ]  # fmt: skip
    assert methods.parse_sizes("all") == list(methods.SIZES)
    assert methods.parse_sizes("2x, 1x,2x") == ["2x", "1x"]
    for base in (256, 512, 1024):
        for name in methods.SIZES:
            width, height = methods.pixels(name, base)
            first = methods.first_pass(width, height, base)
            assert first[0] % 8 == first[1] % 8 == 0
            assert first[0] * first[1] == pytest.approx(base**2, rel=0.05)
            assert first[0] / first[1] == pytest.approx(width / height, rel=0.05)


def test_every_method_has_a_plan_and_no_two_the_same() -> None:
    plans = [
        plan_family("sd15", 1024, 1024, m.settings) for m in methods.parse_methods("all") if m.settings is not None
    ]
    assert len(plans) == 8
    assert all(p.active for p in plans)
    assert len({json.dumps(p.settings.to_dict()) for p in plans}) == len(plans)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (("--steps", 0), "steps = 0"),
        (("--batch", 0), "batch = 0"),
        (("--seed", -1), "seed = -1"),
        (("--dtype", "int8"), "dtype = 'int8'"),
        (("--methods", "magic"), "methods = 'magic'"),
        (("--report-only",), "a folder that an evaluation wrote to"),
        (("--prompt", "absent.txt"), "prompt = 'absent.txt'"),
    ],
)
def test_mistakes(cli: Cli, tmp_path: Path, args: tuple[object, ...], part: str) -> None:
    code, out, err = cli(*args)
    assert (code, out) == (2, "")
    assert part in err
    assert len(err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["two.txt"]


def test_a_run_that_cannot_be_read(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    code, _, err = cli("--out", tmp_path, "--report-only")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "a folder whose run.json can be read" in err


def test_other_models_need_prompts(cli: Cli, model: Path, tmp_path: Path) -> None:
    code, _, err = cli("--model", model)
    assert code == 2
    assert "not like the bundled one" in err
    assert not (tmp_path / "outputs").exists()
