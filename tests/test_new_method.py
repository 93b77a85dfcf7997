"""A method is one file and one line: a copy of the package that has both is planned, run, priced, written and read."""

from __future__ import annotations

import copy
import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from unets import build, inputs, pick, traces

ROOT = Path(__file__).resolve().parents[1]
FILE = """
from dataclasses import dataclass

from ..maths import schedule
from .base import Method, Treatment


@dataclass(frozen=True)
class Halfway(Method):
    @classmethod
    def decide(cls, frame, settings):
        return cls(frame, frame.structure.select("mid", frame.family), 0.5, 0.5)

    def dilation_at(self, progress):
        return self.dilation if schedule.is_before(progress, self.stop) else None

    def treatment(self, layer, weak, dilation, size, stride):
        return Treatment(None, int(dilation))

    def words(self):
        return ("mid block dilated until half of the run", "no filter")


METHOD = Halfway
"""
LAST = '"attn-entropy": "Attention entropy"'


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Imports modules of the copy. The package itself is what other tests import again afterwards."""
    folder = tmp_path_factory.mktemp("grown")
    for path in (ROOT / "fouriscale").rglob("*.py"):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copytree(ROOT / "presets", folder / "presets")
    (folder / "fouriscale" / "methods" / "half_way.py").write_text(FILE, encoding="utf-8")
    registry = folder / "fouriscale" / "settings" / "fields.py"
    text = registry.read_text(encoding="utf-8")
    assert text.count(LAST) == 1
    registry.write_text(text.replace(LAST, f'{LAST}, "half-way": "Half way"'), encoding="utf-8")
    own = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "fouriscale"}
    for name in own:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        assert Path(str(importlib.import_module("fouriscale").__file__)).is_relative_to(folder)
        yield lambda name: importlib.import_module(f"fouriscale.{name}" if name else "fouriscale")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "fouriscale"]:
            del sys.modules[name]
        sys.modules.update(own)


def test_it_is_planned_and_priced(grown: Any) -> None:
    fs = grown("")
    plan = fs.plan(build("sd15"), 128, 192, fs.Settings(method="half-way"))
    assert plan.lines() == [
        "Half way for sd15, 128×192, base 64×64: mid block dilated until half of the run, "
        "estimated 1.00 times the plain run",
        "  no filter",
        "  4 convolutions:",
        *(f"    mid_block.resnets.{j}.conv{k}" for j in (0, 1) for k in (1, 2)),
    ]
    assert (plan.to_dict()["method"], plan.to_dict()["dilation"], plan.to_dict()["stop"]) == ("half-way", 3.0, 0.5)


def test_it_dilates(grown: Any) -> None:
    fs, unet = grown(""), build("sd15")
    plan = fs.plan(unet, 128, 128, fs.Settings(method="half-way"))
    dilated = copy.deepcopy(unet)
    for name, module in dilated.mid_block.resnets.named_modules():
        if name.endswith(("conv1", "conv2")):
            module.dilation = module.padding = (2, 2)
    before, kwargs = traces(unet), inputs("sd15", 2, 16, 16)
    with torch.no_grad():
        plain = unet(**kwargs).sample
        with fs.attach(unet, plan) as session:
            session.progress = (24, 50)
            assert torch.equal(unet(**kwargs).sample, dilated(**kwargs).sample)
            session.progress = (25, 50)
            assert torch.equal(unet(**kwargs).sample, plain)
            assert (session.outcome.at_work, session.outcome.beyond, session.outcome.hooks) == (1, 1, 4)
            session.rows = ("cond",)
            assert unet(**pick(kwargs, [0])).sample.shape == (1, 4, 16, 16)
    assert traces(unet) == before


def test_it_is_asked_for_and_spoken_of(grown: Any) -> None:
    """By its name or its label in a request; in the header; in a picture's text and back."""
    args, describe, deciding = (grown(f"hosts.webui.{name}") for name in ("args", "describe", "deciding"))
    parsed = args.parse([{"enabled": True, "method": "Half Way"}])
    request = deciding.Request(parsed, (), (deciding.Pass("first", (1024, 1024)),))
    decision = deciding.plan_for(grown("unet.structure").blueprint_structure("sd15"), request)
    assert describe.sentence(decision) == "SD 1.5 1024×1024: Half way, dilation 2 over 512×512, about 1.0× time"
    infotext, settings = grown("settings.infotext"), grown("settings").Settings(method="half-way")
    fields = infotext.to_fields(settings, "Custom", None, (0.5, 0.5))
    assert fields["FouriScale method"] == "half-way"
    assert infotext.from_fields(fields).method == "half-way"
