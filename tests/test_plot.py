"""The picture behind the sliders: its curves are the schedule and the filter themselves."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree

import pytest

import fouriscale as fs
from fouriscale.filters.lowpass import axis_mask
from fouriscale.hosts.webui.plot import SAMPLES, curves, plot_html
from fouriscale.planning import plan_family


def test_dilation_curves_follow_the_published_schedule() -> None:
    drawn = curves(plan_family("sdxl", 4096, 4096))
    # 4/3 in steps 0–24, 3/2 in 25–29, 2/2 in 30–32, 2/1 in 33–34, then plain.
    assert drawn["strong dilation"] == (4.0,) * 25 + (3.0,) * 5 + (2.0,) * 5 + (1.0,) * 15
    assert drawn["weak dilation"] == (3.0,) * 25 + (2.0,) * 8 + (1.0,) * 17


def test_filter_curves_are_the_upper_half_of_the_mask() -> None:
    drawn = curves(plan_family("sd15", 1024, 1024))
    strong = axis_mask("strong", SAMPLES, 2.0, 0.0)[SAMPLES // 2 :]
    assert drawn["strong filter"] == tuple(strong)
    assert [g for g in drawn["strong filter"] if g == 1.0] == [1.0] * 18  # j ≤ 17
    assert drawn["strong filter"][25:] == (0.0,) * 7


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (fs.Settings(guidance=False), {"weak dilation", "weak filter"}),
        (fs.Settings(filter=False), {"strong filter", "weak filter"}),
        (fs.Settings(method="scalecrafter"), {"weak dilation", "strong filter", "weak filter"}),
    ],
)
def test_what_does_not_happen_is_not_drawn(settings: fs.Settings, missing: set[str]) -> None:
    everything = set(curves(plan_family("sd15", 1024, 1024)))
    assert everything - set(curves(plan_family("sd15", 1024, 1024, settings))) == missing


def test_the_picture_is_an_svg_that_is_made_once() -> None:
    html = plot_html(plan_family("sd15", 1024, 1024))
    drawing = base64.b64decode(html.split("base64,")[1].split('"')[0])
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert html == plot_html(plan_family("sd15", 1024, 1024))


@pytest.mark.parametrize(
    "plan", [plan_family("sd15", 512, 512), plan_family("sd15", 1024, 1024, fs.Settings(method="attn-entropy"))]
)
def test_nothing_to_draw(plan: fs.Plan) -> None:
    assert plot_html(plan) == ""
