"""A picture of the command, pasted into a WebUI, gives the run that made it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from fouriscale import Plan, Settings
from fouriscale.hosts.diffusers.pictures import RECORD
from fouriscale.hosts.diffusers.sampling import load
from fouriscale.hosts.webui.args import DEFAULTS, parse, resolve
from fouriscale.hosts.webui.infotext import paste_functions
from fouriscale.planning import plan
from fouriscale.settings.infotext import from_fields
from test_cli import Cli, cli, models, words  # noqa: F401
from webui_standin import parse_infotext


def same(made: Plan) -> Plan:
    """What a run does: values that were left open as what they came to, without what changes no picture."""
    came_to = {"start": made.start, "stop": made.stop, "rounding": made.method.frame.rounding, "low_memory": False}
    came_to["coarse"] = made.settings.coarse or 0.0
    return dataclasses.replace(made, settings=made.settings.replace(**came_to))


@pytest.mark.parametrize(
    ("args", "preset"),
    [
        ([], "Auto"),
        (["--start", 0.1, "--stop", 0.9], "Custom"),
        (["--start", 0.1, "--low-memory"], "Custom"),
        (["--layers", "mid", "--amp-guidance", 2.4, "--fast"], "Auto"),
        (["--dilation", 1.5, "--base", "64x64", "--stopband-weak", 0.3], "Custom"),
        (["--method", "scalecrafter"], "Auto"),
        (["--preset", "Detail", "--no-guidance"], "Detail"),
        (["--preset", "reference"], "Reference"),
        (["--preset", "Reference", "--no-freeu"], "Custom"),
        (["--preset", "SD 1.5 2048x1024", "--stop", 0.8, "--no-filter"], "Custom"),
    ],
)
def test_pasting_a_picture_of_the_command(
    cli: Cli, models: dict[str, Path], tmp_path: Path, args: list[object], preset: str  # noqa: F811
) -> None:  # fmt: skip
    assert cli(*words(models["sd15"], "--steps", 1, *args))[0] == 0
    with Image.open(tmp_path / "made" / "00001-0-a-cat.png") as image:
        text, record = image.text["parameters"], json.loads(image.text[RECORD])  # type: ignore[attr-defined]
    unet, size = load(models["sd15"]).unet, (record["width"], record["height"])
    made = plan(unet, *size, Settings.from_dict(record["settings"]))
    assert made.active

    pairs = parse_infotext(text)
    controls = DEFAULTS.replace(**{name: read(pairs) for name, read in paste_functions().items()})
    assert (controls.enabled, controls.preset) == (True, preset)
    restored, _ = resolve(parse(controls.values), "sd15", *size)
    assert same(plan(unet, *size, restored)) == same(made)
    assert same(plan(unet, *size, from_fields(pairs, "sd15", size))) == same(made)
