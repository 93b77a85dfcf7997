"""The bundled model's training data and its start from an exported model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fouriscale import model as bundled
from fouriscale.lab.measure import truth
from tools.train_model.objects import LARGEST, LATENT, NAMES, SMALLEST, Frames, Lessons, Placement
from tools.train_model.unet import Trainer, rate_at


def test_close_ups_are_windows_on_an_object() -> None:
    rng = np.random.default_rng(0)
    places = [Placement.close_up(rng) for _ in range(500)]
    sides = np.array([p.side for p in places])
    assert SMALLEST <= sides.min() < 24
    assert 3.5 * LARGEST < sides.max() <= 4 * LARGEST
    for p in places:
        seen = [min(LATENT, corner + p.side) - max(0, corner) for corner in (p.top, p.left)]
        assert min(seen) >= LATENT // 2 - 0.1 * p.side - 1  # the middle is at most a tenth beside it
    assert {p.flip for p in places} == {False, True}


def test_close_ups_belong_to_the_late_part() -> None:
    rng = np.random.default_rng(0)
    drawn = [Lessons(300, 0.6, 0.5).draw(rng) for _ in range(2000)]
    beyond = np.array([p.side > LARGEST or min(p.top, p.left) < 0 for p, _ in drawn])
    steps = np.array([t for _, t in drawn])
    assert steps[beyond].max() < 300
    assert steps.min() < 10
    assert steps.max() > 990
    assert (steps < 300).mean() == pytest.approx(0.6, abs=0.04)
    assert 0.35 < beyond[steps < 300].mean() <= 0.54  # few close-ups are whole objects


@pytest.mark.parametrize("flip", [False, True])
def test_a_close_up_is_cut_from_the_whole_drawing(flip: bool) -> None:
    place = Placement(NAMES.index("cow"), 64, -20, -11, flip)
    frame = Frames().rgba(place)
    whole = truth.placed("cow", 96, 96, 64, 0, 0, flip)
    expected = whole[20 : 20 + LATENT, 11 : 11 + LATENT]
    assert frame.shape == (LATENT, LATENT, 4)
    assert np.abs(frame[..., :3] + 1 - frame[..., 3:] - expected).max() < 3 / 255
    assert frame.min() >= 0
    # Nothing of it is in a frame beside it.
    assert not Frames().rgba(Placement(place.index, 64, LATENT, 0, flip)).any()


def test_training_starts_from_an_exported_model(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, 1, 1e-3, Lessons(), bundled.folder())
    saved = load_file(bundled.folder() / "unet/diffusion_pytorch_model.safetensors")
    mine = trainer.unet.state_dict()
    assert all(torch.equal(mine[name], value.float()) for name, value in saved.items())
    words = json.loads((bundled.folder() / "tokenizer/vocab.json").read_text())
    assert trainer.tok.get_vocab() == words
    loss = trainer.step(rate_at(0.0, 0, 0.0))
    assert 0 < loss < 0.5  # a trained model's, where an untrained one's is about 1
    assert torch.equal(trainer.unet.conv_in.weight, saved["conv_in.weight"].float())
