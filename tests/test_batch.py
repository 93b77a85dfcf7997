"""Many pictures: batches, resuming, shards and processes make the same pictures, each once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

import fouriscale.cli.batch as batch_module
import fouriscale.cli.identity as identity_module
import fouriscale.cli.listing as listing_module
import fouriscale.cli.resume as resume_module
import fouriscale.cli.team as team_module
import fouriscale.hosts.diffusers.files as files_module
from fouriscale import Settings
from fouriscale.cli.batch import Batches, parse_shard, sample_batch
from fouriscale.cli.errors import ProcessError
from fouriscale.cli.identity import Identity, identify
from fouriscale.cli.listing import Pictures, identified, record
from fouriscale.cli.team import Team
from fouriscale.errors import SettingsError
from fouriscale.hosts.diffusers.pictures import RECORD, save_png
from fouriscale.hosts.diffusers.pipeline import set_scheduler
from fouriscale.hosts.diffusers.sampling import Control, Refiner, Request, load, sample
from test_cli import Cli, assert_one_line, cli, models, parameters, pixels  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = ["a cat", "a dog, big", "bee"]
SMALL = ("--width", 128, "--height", 64, "--steps", 2)
NAMES = [
    f"{line:05d}-{seed}-{slug}.png" for line, slug in ((1, "a-cat"), (2, "a-dog-big"), (3, "bee")) for seed in (5, 6)
]


@pytest.fixture
def words(models: dict[str, Path], tmp_path: Path) -> list[object]:  # noqa: F811
    """`generate` for two pictures of each prompt."""
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    return ["generate", "--model", models["sd15"], "--prompt", tmp_path / "p.txt", "--count", 2, "--seed", 5, *SMALL]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes where a file is written again."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def made(out: str) -> list[str]:
    """The pictures that a run printed."""
    return [Path(line.split("  ")[0]).name for line in out.splitlines() if line.endswith(" s")]


@pytest.mark.parametrize(
    ("family", "scheduler", "settings"),
    [
        ("sd15", "ddim", Settings()), ("sdxl", "ddim", Settings()), ("sd15", "euler_a", Settings(low_memory=True)),
        ("sd15", "ddim", None),
    ],
)  # fmt: skip
def test_a_batch_is_the_same_as_one_by_one(
    models: dict[str, Path], family: str, scheduler: str, settings: Settings | None  # noqa: F811
) -> None:  # fmt: skip
    pipe = load(models[family])
    set_scheduler(pipe, scheduler)
    first = Request("", 128, 128, 0, settings, negative="blue", steps=4, scheduler=scheduler)
    requests = [dataclasses.replace(first, prompt=p, seed=s) for p, s in zip(PROMPTS, (7, 3, 7), strict=True)]
    steps: list[int] = []
    together = sample_batch(pipe, requests, steps.append)
    assert steps == [1, 2, 3, 4]
    for request, result in zip(requests, together, strict=True):
        alone = sample(pipe, request)
        assert alone.latents.abs().max() > 0.5
        assert torch.allclose(result.latents, alone.latents, rtol=0, atol=1e-4)
        assert np.abs(np.asarray(result.image, dtype=int) - np.asarray(alone.image, dtype=int)).max() <= 1
        assert (result.parameters, result.plan) == (alone.parameters, alone.plan)
    assert not torch.allclose(together[0].latents, together[2].latents, rtol=0, atol=1e-3)  # the prompts count


def test_batches_of_the_command(
    cli: Cli, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    calls: list[tuple[list[int], list[str]]] = []
    plain = batch_module.sample_latents

    def sample_latents(pipe: Any, request: Request, seeds: list[int], on_step: Any, prompts: list[str]) -> Any:
        calls.append((seeds, prompts))
        return plain(pipe, request, seeds, on_step, prompts)

    monkeypatch.setattr(batch_module, "sample_latents", sample_latents)
    code, out, err = cli(*words, "--out", "four", "--batch-size", 4)
    assert (code, err) == (0, "")
    assert calls == [([5, 6, 5, 6], ["a cat"] * 2 + ["a dog, big"] * 2), ([5, 6], ["bee"] * 2)]
    assert made(out) == NAMES == names(tmp_path / "four")
    assert cli(*words, "--out", "one")[0] == 0
    assert [len(seeds) for seeds, _ in calls[2:]] == [1] * 6
    for name in NAMES:
        assert parameters(tmp_path / "one" / name) == parameters(tmp_path / "four" / name)
        difference = pixels(tmp_path / "one" / name).astype(int) - pixels(tmp_path / "four" / name)
        assert np.abs(difference).max() <= 1


def test_finished_pictures_are_kept(cli: Cli, words: list[object], tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "made"
    assert cli(*words, "--out", "made")[0] == 0
    before = states(folder)
    content = pixels(folder / NAMES[3])
    (folder / NAMES[3]).unlink()
    (folder / f"{NAMES[3]}.4242.partial").write_bytes(b"half a picture")
    (folder / "mine.png.partial").write_bytes(b"not ours")
    code, out, err = cli(*words, "--out", "made", "--batch-size", 4, "--low-memory")
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "5 of 6 pictures are there already"
    assert made(out) == [NAMES[3]]
    assert names(folder) == [*NAMES, "mine.png.partial"]
    assert np.abs(pixels(folder / NAMES[3]).astype(int) - content).max() <= 1
    after = states(folder)
    assert {name for name in before if after[name] != before[name]} == {NAMES[3]}

    code, out, _ = cli(*words, "--out", "made")
    assert (code, made(out)) == (0, [])
    code, out, _ = cli(*words, "--out", "made", "--no-resume")
    assert (code, made(out)) == (0, NAMES)
    assert all(states(folder)[name] != after[name] for name in NAMES)


def test_more_prompts_add_to_what_is_there(cli: Cli, words: list[object], tmp_path: Path) -> None:  # noqa: F811
    assert cli(*words, "--out", "made")[0] == 0
    with (tmp_path / "p.txt").open("a") as file:
        file.write("\nfox\n")
    code, out, _ = cli(*words, "--out", "made", "--count", 3)
    assert code == 0
    assert made(out) == ["00001-7-a-cat.png", "00002-7-a-dog-big.png", "00003-7-bee.png"] + [
        f"00004-{seed}-fox.png" for seed in (5, 6, 7)
    ]


@pytest.mark.parametrize(
    ("args", "difference"),
    [
        (["--steps", 3], "steps was 2, now 3"),
        (["--cfg", 6], "cfg was default, now 6.0"),
        (["--start", 0.1], "start was default, now 0.1"),
        (["--method", "plain"], "method was 'fouriscale', now 'plain'"),
        (["--negative", "red"], "negative was default, now 'red'"),
        (["--dtype", "bfloat16"], "dtype was 'torch.float32', now 'torch.bfloat16'"),
        (
            ["--width", 192, "--steps", 4, "--scheduler", "euler"],
            "width was 128, now 192; steps was 2, now 4;",
        ),
    ],
)
def test_other_settings_in_the_same_folder(
    cli: Cli, words: list[object], tmp_path: Path, args: list[object], difference: str  # noqa: F811
) -> None:  # fmt: skip
    words = [*words, "--count", 1, "--out", "made"]
    assert cli(*words)[0] == 0
    before = states(tmp_path / "made")
    code, _, err = cli(*words, *args)
    assert (code, len(err.splitlines())) == (2, 1)
    assert err.startswith("error: out = 'made' is not allowed: a folder without a 00001-5-a-cat.png made with other")
    assert difference in err
    assert "choose another --out, or --no-resume" in err
    assert states(tmp_path / "made") == before


def test_a_prompt_of_the_same_file_name_is_another_prompt(cli: Cli, words: list[object]) -> None:  # noqa: F811
    words = [*words, "--count", 1, "--out", "made", "--prompt"]
    assert cli(*words, "a cat")[0] == 0
    assert "prompt was 'a cat', now 'A cat!'" in cli(*words, "A cat!")[2]
    assert cli(*words, "a dog")[0] == 0


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", None, "{", "[]"])
def test_pictures_that_tell_nothing(
    cli: Cli, words: list[object], tmp_path: Path, content: bytes | str | None  # noqa: F811
) -> None:  # fmt: skip
    path = tmp_path / "made" / NAMES[0]
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_png(Image.new("RGB", (8, 8)), path, "", content or "")
    before = states(path.parent)
    code, _, err = cli(*words, "--out", "made")
    assert code == 2
    assert "it does not say from what it was made" in err
    assert states(path.parent) == before


def test_a_kill_while_writing_leaves_no_picture(
    cli: Cli, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    """The picture gets its name last: what is there before that is not taken for it."""
    seen: list[list[str]] = []
    plain = os.replace

    def replace(source: Path, target: Path) -> None:
        seen.append(names(tmp_path / "made"))
        plain(source, target)

    monkeypatch.setattr(files_module.os, "replace", replace)
    assert cli(*words, "--out", "made")[0] == 0
    assert seen == [[*NAMES[:i], f"{NAMES[i]}.{os.getpid()}.partial"] for i in range(6)]


def test_shards_make_each_picture_once(cli: Cli, words: list[object], tmp_path: Path) -> None:  # noqa: F811
    assert cli(*words, "--out", "one")[0] == 0
    found = []
    for i, batch in ((2, 1), (1, 2), (4, 1), (3, 3)):
        code, out, _ = cli(*words, "--out", f"part{i}", "--shard", f"{i}/4", "--batch-size", batch)
        assert code == 0
        found += made(out)
        for name in names(tmp_path / f"part{i}"):
            difference = pixels(tmp_path / f"part{i}" / name).astype(int) - pixels(tmp_path / "one" / name)
            assert np.abs(difference).max() <= (batch > 1)
    assert sorted(found) == NAMES


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/", "-1/2", "²/3", "1/2/3"])
def test_shards_that_are_none(cli: Cli, words: list[object], text: str) -> None:  # noqa: F811
    assert_one_line(cli(*words, "--shard", text), [f"shard = {text!r}", "I/N with I from 1 to N"])


def test_batch_sizes_that_are_none(cli: Cli, words: list[object]) -> None:  # noqa: F811
    assert_one_line(cli(*words, "--batch-size", 0), ["batch_size = 0", "a whole number from 1"])


@given(items=st.lists(st.integers(), unique=True, max_size=40), batch=st.integers(1, 9), size=st.integers(1, 7))
def test_every_item_has_one_process(items: list[int], batch: int, size: int) -> None:
    whole = list(Batches(items, batch))
    assert [i for one in whole for i in one] == items
    assert all(len(one) == batch for one in whole[:-1])
    teams = [Batches(items, batch, rank, size) for rank in range(size)]
    assert sorted(i for part in teams for one in part for i in one) == sorted(items)
    numbers = [len(list(part)) for part in teams]
    assert max(numbers) - min(numbers) <= 1
    assert all(part.pictures == sum(map(len, part)) and part.first == next(iter(part), ()) for part in teams)


def test_processes_share_what_is_left(
    cli: Cli, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    """Two processes, one after the other: the second is told what the first saw, not what it sees itself."""
    assert cli(*words, "--out", "one")[0] == 0
    assert cli(*words, "--out", "made", "--shard", "1/3")[0] == 0
    asked: tuple[list[Any], list[Any]] = ([], [])
    closed: list[int] = []

    class Member(Team):
        def agree(self, ask: Any) -> Any:
            asked[self.rank].append(asked[0][len(asked[self.rank])] if self.rank else ask())
            return asked[self.rank][-1]

        def leave(self) -> None:
            closed.append(self.rank)

    found = []
    for rank in (0, 1):
        monkeypatch.setattr(Team, "join", classmethod(lambda cls, device, rank=rank: Member(rank, 2)))
        code, out, _ = cli(*words, "--out", "made")
        assert code == 0
        assert ("2 of 6 pictures are there already" in out) == (rank == 0)
        found.append(made(out))
    assert asked[0][-1] == asked[1][-1] == [1, 2, 4, 5]
    assert found == [[NAMES[1], NAMES[4]], [NAMES[2], NAMES[5]]]
    assert closed == [0, 1]
    assert all(np.array_equal(pixels(tmp_path / "one" / n), pixels(tmp_path / "made" / n)) for n in NAMES)


def test_what_a_launcher_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert team_module.is_first()
    assert Team.join() == Team(0, 1, None)
    assert team_module.own_device("cuda") == "cuda"
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not team_module.is_first()
    assert [team_module.own_device(d) for d in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]


def test_file_and_seed_follow_from_line_and_number() -> None:
    first = Request("", 64, 64, 5, None)
    found = list(Pictures.of(first, PROMPTS, 2, Path("x"), {"dtype": "d"}))
    assert [p.path for p in found] == [Path("x") / name for name in NAMES]
    assert [(p.request.prompt, p.request.seed) for p in found] == [(p, s) for p in PROMPTS for s in (5, 6)]
    expected = {"prompt": "a cat", "width": 64, "height": 64, "seed": 5, "settings": None, "dtype": "d"}
    assert found[0].record == expected


def test_the_record_tells_pictures_apart() -> None:
    class Pipe:
        components: dict[str, Any] = {}  # noqa: RUF012

    red, blue = (Control(Image.new("RGB", (8, 8), c), 0.5, "edges", "x.png") for c in ("red", "blue"))
    first = Request("a", 64, 64, 0, Settings(start=0.1, base=(64, 64), low_memory=True), loras=(("l", 0.5),))
    one = record(dataclasses.replace(first, control=red, refiner=Refiner(Pipe(), 0.7, "second")))
    assert json.loads(json.dumps(one)) == one
    assert one["settings"] == {"start": 0.1, "base": [64, 64]}
    assert (one["loras"], one["refiner"]) == ([["l", 0.5]], {"at": 0.7, "name": "second"})
    assert record(dataclasses.replace(first, control=red)) == {k: v for k, v in one.items() if k != "refiner"}
    other = record(dataclasses.replace(first, control=blue))
    assert other["control"].pop("image") != one["control"].pop("image")
    assert other["control"] == one["control"] == {"scale": 0.5, "name": "edges", "file": "x.png"}


def test_the_record_is_in_the_picture_beside_its_parameters(
    cli: Cli, words: list[object], models: dict[str, Path], tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    assert cli(*words, "--out", "made", "--stop", 0.9)[0] == 0
    with Image.open(tmp_path / "made" / NAMES[1]) as image:
        assert set(image.text) == {"parameters", RECORD}  # type: ignore[attr-defined]
        found = json.loads(image.text[RECORD])  # type: ignore[attr-defined]
    assert found == {
        "prompt": "a cat", "width": 128, "height": 64, "seed": 6, "settings": {"stop": 0.9, "rounding": "auto"},
        "steps": 2, "preset": "Auto", "model": identify(models["sd15"]), "dtype": "torch.float32",
    }  # fmt: skip


def test_models_are_told_apart_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, twin = (tmp_path / folder / "m.safetensors" for folder in ("a", "b", "c"))
    for path, content in ((one, b"first"), (other, b"second"), (twin, b"first")):
        path.parent.mkdir()
        path.write_bytes(content)
    assert identify(one) == f"sha256:{hashlib.sha256(b'first').hexdigest()}" == identify(twin) != identify(other)
    folders = {path: identify(path.parent) for path in (one, other, twin)}
    assert folders[one] == folders[twin] != folders[other]
    (one.parent / "README.md").write_text("says nothing")
    (one.parent / "m.bin").write_bytes(b"the same weights in another format")
    assert identify(one.parent) == folders[one]
    (one.parent / "config.json").write_text("{}")
    assert identify(one.parent) != folders[one]
    assert (identify("someone/model"), identify("")) == ("someone/model", "")
    monkeypatch.setattr(Path, "open", None)
    assert identify(one) == identify(twin)  # read once in a run


def test_records_hold_what_all_models_are() -> None:
    control = Control(Image.new("RGB", (8, 8)), 0.5, "edges", "x.png")
    request = Request(
        "a", 64, 64, 0, None, model="m", control=control, refiner=Refiner(None, 0.7, "r"), loras=(("l", 0.5),),
        embeddings=("word",),
    )  # fmt: skip
    found = {**record(request), **identified(request, Identity("M", "R", "C", ("L",), ("E",), "F"))}
    assert (found["model"], found["refiner"], found["config"]) == ("M", {"pipe": None, "at": 0.7, "name": "R"}, "F")
    assert (found["control"]["name"], "file" in found["control"]) == ("C", False)
    assert (found["loras"], found["embeddings"]) == ([["L", 0.5]], [["E", "word"]])


def test_another_model_of_the_same_name(
    cli: Cli, words: list[object], models: dict[str, Path], tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    words = [*words, "--count", 1, "--out", "made", "--prompt", "a cat", "--model"]
    other = tmp_path / "elsewhere" / "sd15"
    shutil.copytree(models["sd15"], other)
    assert cli(*words, models["sd15"])[0] == 0
    assert "1 of 1 pictures are there already" in cli(*words, other)[1]
    weights = load_file(other / "unet" / "diffusion_pytorch_model.safetensors")
    weights["conv_in.bias"] += 1
    save_file(weights, other / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    identity_module._of_file.cache_clear()  # of another run
    code, _, err = cli(*words, other)
    assert code == 2
    assert f"model was '{identify(models['sd15'])}', now '{identify(other)}'" in err


@pytest.mark.parametrize("damage", ["truncated", "last byte", "one bit"])
def test_a_damaged_picture_is_made_anew(
    cli: Cli, words: list[object], tmp_path: Path, damage: str  # noqa: F811
) -> None:  # fmt: skip
    words = [*words, "--count", 1, "--out", "made", "--prompt", "a cat"]
    path = tmp_path / "made" / "00001-5-a-cat.png"
    assert cli(*words)[0] == 0
    content = path.read_bytes()
    middle = content.index(b"IDAT") + 200
    bad = {
        "truncated": content[:middle], "last byte": content[:-1],
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }  # fmt: skip
    path.write_bytes(bad[damage])
    code, out, _ = cli(*words)
    assert (code, made(out)) == (0, [path.name])
    assert f"damaged, and made anew: {path.name}" in out
    assert path.read_bytes() == content


def test_a_picture_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, then name, then folder: after a loss of power there is a whole picture, or none."""
    done: list[tuple[str, str]] = []
    real_sync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        done.append(("fsync", os.readlink(f"/proc/self/fd/{handle}")))
        real_sync(handle)

    def replace(source: Path, target: Path) -> None:
        done.append(("replace", str(target)))
        real_replace(source, target)

    monkeypatch.setattr(files_module.os, "fsync", fsync)
    monkeypatch.setattr(files_module.os, "replace", replace)
    path = tmp_path / "picture.png"
    save_png(Image.new("RGB", (8, 8)), path, "text")
    partial = f"{path}.{os.getpid()}.partial"
    assert done == [("fsync", partial), ("replace", str(path)), ("fsync", str(tmp_path))]


def test_a_hundred_thousand_prompts_are_listed_in_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made up for pictures that are not yet due: neither request nor record, and no name in a new folder."""
    prompts = [f"a cat, number {n}" for n in range(100_000)]
    monkeypatch.setattr(listing_module, "record", lambda _: {})
    wanted = Pictures.of(Request("", 64, 64, 5, None), prompts, 3, tmp_path, {}).part(1, 2)
    for name in ("replace", "asdict"):
        monkeypatch.setattr(listing_module.dataclasses, name, None)
    monkeypatch.setattr(listing_module, "slug", None)
    left = resume_module.unfinished(wanted, tmp_path, print)
    assert left == range(150_000)
    assert next(iter(Batches(left, 4, 1, 2))) == range(4, 8)
    monkeypatch.undo()
    assert wanted[1].path.name == "00002-5-a-cat-number-1.png"
    (tmp_path / wanted.name(7)).write_bytes(b"")
    with pytest.raises(SettingsError, match="it does not say"):
        resume_module.unfinished(wanted, tmp_path, print)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_picture_that_came_to_nothing(
    cli: Cli, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int  # noqa: F811
) -> None:  # fmt: skip
    """The others of its batch, and those after it, are there."""
    plain = batch_module.sample_latents

    def sample_latents(pipe: Any, request: Request, seeds: list[int], on_step: Any, prompts: list[str]) -> Any:
        latents, *rest = plain(pipe, request, seeds, on_step, prompts)
        latents[[i for i, prompt in enumerate(prompts) if prompt == "a dog, big"]] = float("inf")
        return latents, *rest

    monkeypatch.setattr(batch_module, "sample_latents", sample_latents)
    code, out, err = cli(*words, "--count", 1, "--out", "made", "--batch-size", batch)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "00002-5-a-dog-big.png was not written: 512 of 512 numbers of the latents are NaN or infinite" in err
    assert made(out) == names(tmp_path / "made") == ["00001-5-a-cat.png", "00003-5-bee.png"]
    monkeypatch.undo()


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_weights_that_are_no_numbers(
    cli: Cli, words: list[object], models: dict[str, Path], tmp_path: Path, part: str  # noqa: F811
) -> None:  # fmt: skip
    """No black picture with exit code 0; all after the first would come to nothing too, so they are not tried."""
    broken = tmp_path / "broken"
    shutil.copytree(models["sd15"], broken)
    path = broken / part / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    name = "conv_out.bias" if part == "unet" else "decoder.conv_out.bias"
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, path, {"format": "pt"})
    code, out, err = cli(*words, "--out", "made", "--model", broken)
    assert (code, len(err.splitlines())) == (1, 1)
    assert err.startswith("error: made/00001-5-a-cat.png was not written: ")
    assert f"are NaN or infinite, as are weights of the model or of what was merged into it ({part}.{name})" in err
    assert "more" not in err
    assert made(out) == names(tmp_path / "made") == []


def test_a_process_without_a_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ProcessError, match="process 2 of this machine has no CUDA device; there are 2"):
        team_module.own_device("cuda")


def test_errors_of_shards() -> None:
    assert parse_shard("") == (1, 1)
    assert parse_shard("3/7") == (3, 7)
    with pytest.raises(SettingsError):
        parse_shard("8/7")


def launch(args: list[object], where: Path) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", str(port), "-m", "fouriscale", *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=where, env={**environment, "CUDA_VISIBLE_DEVICES": ""}, **pipes)


def of_rank(launcher: subprocess.Popen[str], rank: int) -> psutil.Process:
    for child in psutil.Process(launcher.pid).children(recursive=True):
        if child.environ().get("RANK") == str(rank):
            return child
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.timeout(900)
def test_two_processes_one_killed(cli: Cli, words: list[object], tmp_path: Path) -> None:  # noqa: F811
    """Nothing is lost, nothing made twice, and every picture is the one that a single process makes, bit for bit."""
    words = [*words, "--count", 8, "--steps", 6]
    folder = tmp_path / "made"
    first = launch([*words, "--out", folder], tmp_path)
    try:
        end = time.monotonic() + 120
        while not (folder.is_dir() and len(list(folder.glob("*.png"))) >= 6):
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < end
            time.sleep(0.01)
        of_rank(first, 1).send_signal(signal.SIGKILL)
        first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode != 0
    before = {name: state for name, state in states(folder).items() if name.endswith(".png")}
    assert 6 <= len(before) < 24

    second = launch([*words, "--out", folder], tmp_path)
    try:
        out, err = second.communicate(timeout=120)
    finally:
        second.kill()
    assert second.returncode == 0, err
    assert f"{len(before)} of 24 pictures are there already" in out
    after = states(folder)
    assert {name: after[name] for name in before} == before
    expected = Pictures.of(Request("", 64, 64, 5, None), PROMPTS, 8, folder, {})
    assert sorted(after) == sorted(picture.path.name for picture in expected)
    assert sorted(made(out)) == sorted(set(after) - set(before))

    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert cli(*words, "--out", "one")[0] == 0
    finally:
        torch.set_num_threads(torch_threads)
    assert all(np.array_equal(pixels(tmp_path / "one" / name), pixels(folder / name)) for name in after)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.timeout(900)
def test_two_processes_refuse_once(cli: Cli, words: list[object], tmp_path: Path) -> None:  # noqa: F811
    assert cli(*words, "--out", tmp_path / "made")[0] == 0
    process = launch([*words, "--out", tmp_path / "made", "--steps", 3], tmp_path)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0
    assert err.count("error: out = ") == 1
    assert "steps was 2, now 3" in err
    assert "SettingsError" not in err
