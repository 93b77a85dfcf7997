"""The model that ships with FouriScale: its files, its words, its pictures, and the commands that run on it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel

from fouriscale import model as bundled
from fouriscale.cli import main
from fouriscale.hosts.diffusers.pipeline import load_pipeline
from fouriscale.hosts.diffusers.sampling import Request, decode, sample_latents
from fouriscale.lab.measure.objects import count_objects
from test_infotext import parsed

LARGEST = 24_000_000


@pytest.fixture(scope="module")
def folder() -> Path:
    found = bundled.folder()
    if not (found / "model_index.json").is_file():
        pytest.fail(f"the bundled model is not in {found}", pytrace=False)
    return found


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Any:
    return load_pipeline(folder)


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    monkeypatch.setattr(sys, "argv", ["fouriscale", *map(str, args)])
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_size_on_disk(folder: Path) -> None:
    data = (p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc"))
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in data}
    assert 1_000_000 < sum(sizes.values()) <= LARGEST
    assert sizes["unet/diffusion_pytorch_model.safetensors"] > 0.5 * sum(sizes.values())
    assert [name for name in sizes if not name.endswith((".json", ".txt", ".safetensors", ".md"))] == []


@pytest.mark.parametrize(
    ("kind", "part"), [(UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"), (CLIPTextModel, "text_encoder")]
)
def test_every_weight_has_its_place(folder: Path, kind: Any, part: str) -> None:
    model, info = kind.from_pretrained(folder / part, output_loading_info=True, dtype=torch.float32)
    assert {name: list(keys) for name, keys in info.items() if keys} == {}
    assert all(torch.isfinite(weights).all() for weights in model.state_dict().values())


def test_it_is_a_pipeline_of_sd15(pipe: Any) -> None:
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert pipe.unet.config.sample_size == bundled.BASE // 8
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert {part.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {torch.float32}


def test_every_word_is_one_token(pipe: Any) -> None:
    assert len(bundled.PROMPTS) == len(set(bundled.PROMPTS)) == 48
    start, end = pipe.tokenizer.bos_token_id, pipe.tokenizer.eos_token_id
    tokens = {}
    for word in {word for prompt in bundled.PROMPTS for word in prompt.split()}:
        first, *inner, last = pipe.tokenizer(word).input_ids
        assert (first, last) == (start, end)
        assert len(inner) == 1, word
        assert inner[0] not in (start, end), word
        tokens[word] = inner[0]
    assert len(set(tokens.values())) == len(tokens)
    assert len(pipe.tokenizer("a zebra").input_ids) > 4  # letters, for a word that it does not know


def test_it_draws_an_object(pipe: Any) -> None:
    request = Request("hamburger", bundled.BASE, bundled.BASE, 0, None, steps=8, cfg=4.0, eta=0.0)
    latents, _, _ = sample_latents(pipe, request, [0, 1, 2, 3])
    assert latents.shape == (4, 4, bundled.BASE // 8, bundled.BASE // 8)
    assert torch.isfinite(latents).all()
    alpha = bundled.alpha(latents).numpy()
    counts = [count_objects(a) for a in alpha]
    assert sum(count >= 1 for count in counts) >= 3
    assert 0.05 < (alpha > 0.5).mean() < 0.9  # an object on an empty background
    # The decoder shows the object on white, where the latent's alpha says that it is.
    shown = np.asarray(decode(pipe, latents[:1])[0].resize((32, 32), Image.Resampling.BOX), np.float32)
    assert shown[alpha[0] < 0.05].mean() > 235
    assert shown[alpha[0] > 0.95].mean() < 215


def test_demo(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(bundled, "STEPS", 2)
    assert run(monkeypatch, "demo", "--prompts", "hamburger, hamburger", "--out", tmp_path) == 0
    out, err = capsys.readouterr()
    assert err == ""
    names = {
        "hamburger-256x256-plain.png", "hamburger-512x512-plain.png", "hamburger-512x512-FouriScale.png",
        "hamburger-256x512-plain.png", "hamburger-256x512-FouriScale.png",
    }  # fmt: skip
    assert {p.name for p in tmp_path.iterdir()} == {*names, "comparison.png"}
    for name in names:
        with Image.open(tmp_path / name) as image:
            size = f"{image.width}x{image.height}"
            fields = parsed(image.text["parameters"])  # type: ignore[attr-defined]
        assert name.split("-")[1] == size == fields["Size"]
        assert ("FouriScale" in fields) == ("FouriScale" in name)
        assert (fields["Steps"], fields["Seed"]) == ("2", "0")
    with Image.open(tmp_path / "comparison.png") as image:
        assert image.width > (256 + 512 + 512 + 256 + 256) / 2
        assert image.height > 512 / 2
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if line.strip()]
    assert rows[0] == ["size", "method", "objects per picture", "seconds", "time over plain"]
    assert [row[:2] for row in rows[1:6]] == [
        ["256×256", "plain"], ["512×512", "plain"], ["512×512", "FouriScale"], ["256×512", "plain"],
        ["256×512", "FouriScale"],
    ]  # fmt: skip
    assert [len(row) for row in rows[1:6]] == [4, 4, 5, 4, 5]
    assert out.count("5 pictures and ") == 1
