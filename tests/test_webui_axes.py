"""The X/Y/Z plot's axes: there once, and each cell on its own."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from fouriscale.hooks import count_hooks
from fouriscale.hosts.webui.args import CUSTOM_FIELDS, FIELDS
from fouriscale.hosts.webui.axes import PREFIX, add_axes, find_xyz_module
from fouriscale.hosts.webui.run import XYZ_ATTRIBUTE
from fouriscale.settings.fields import PASSES
from unets import largest
from webui_standin import AxisOption, Host, Processing

LABELS = [
    "Enabled", "Preset", "Pass", "Start", "Stop", "Dilation", "Layers", "Guidance", "Filter", "Base size",
    "Strong stop-band", "Weak stop-band", "Amplified guidance", "FreeU", "Method", "Low memory", "Fast", "Rounding",
    "Coarse start",
]  # fmt: skip


def axes_of(host: Host) -> dict[str, AxisOption]:
    """The plot's axes that are ours, by label without prefix."""
    options = host.modules["modules.scripts"].scripts_data[1].module.axis_options
    return {o.label.removeprefix(PREFIX): o for o in options if o.label.startswith(PREFIX)}


def cells(host: Host, p: Processing, *values: dict[str, Any]) -> list[tuple[Processing, Tensor]]:
    """One picture per mapping of axes to values, made as the plot makes them: from shallow copies, never closed."""
    axes, made = axes_of(host), []
    for cell in values:
        request = copy.copy(p)
        for label, value in cell.items():
            axis = axes[label]
            axis.apply(request, axis.type(value), [value])
        (picture,) = host.process_images(request)
        request.comments = dict(request.comments)  # what the picture shows
        request.extra_generation_params = dict(request.extra_generation_params)
        made.append((request, picture))
        assert (host.errors, count_hooks(host.unet)) == ([], 0)
    return made


def test_importing_the_script_adds_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    module = host.modules["modules.scripts"].scripts_data[1].module
    assert [option.label for option in module.axis_options] == ["Nothing", *(PREFIX + label for label in LABELS)]
    assert add_axes(module, list) == 0
    del module.axis_options[3]
    assert add_axes(module, list) == 1
    assert sorted(axes_of(host)) == sorted(LABELS)


def test_every_argument_that_can_vary_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    request = SimpleNamespace()
    for axis in axes_of(host).values():
        axis.apply(request, axis.type("1"), [])
    assert set(getattr(request, XYZ_ATTRIBUTE)) == set(FIELDS) - {"size_conditioning"}
    assert set(CUSTOM_FIELDS) < set(getattr(request, XYZ_ATTRIBUTE))


def test_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = axes_of(Host(monkeypatch))
    assert axes["Enabled"].choices() == axes["Guidance"].choices() == axes["Filter"].choices() == ["True", "False"]
    assert axes["Pass"].choices() == list(PASSES)
    presets = axes["Preset"].choices()
    assert (presets[0], presets[-1], len(presets)) == ("Auto", "Custom", 2 + 15)
    assert "SDXL 2048x2048" in presets
    assert axes["Start"].choices is None
    assert axes["Method"].choices() == ["fouriscale", "scalecrafter", "attn-entropy"]
    assert axes["Rounding"].choices() == ["up", "exact", "down", "auto"]
    assert axes["Low memory"].choices() == axes["Fast"].choices() == ["True", "False"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a1111/scripts/xyz_grid.py", True), ("C:\\forge\\scripts\\xyz_grid.py", True), ("xyz_grid.pyc", False),
        ("/scripts/my_xyz_grid.py", False), (None, False),
    ],
)  # fmt: skip
def test_finding_the_module(path: str | None, found: bool) -> None:
    data = [SimpleNamespace(), SimpleNamespace(path=path, module="xyz")]
    assert find_xyz_module(data) == ("xyz" if found else None)


def test_values_travel_on_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plot copies the request for each cell; what one cell sets must not reach the next."""
    host = Host(monkeypatch)
    p = Processing(host, [True])
    axes = axes_of(host)
    first, second = copy.copy(p), copy.copy(p)
    axes["Start"].apply(first, 0.1, [])
    axes["Stop"].apply(first, 0.5, [])
    third = copy.copy(first)
    axes["Stop"].apply(third, 0.9, [])
    assert getattr(first, XYZ_ATTRIBUTE) == {"start": 0.1, "stop": 0.5}
    assert getattr(third, XYZ_ATTRIBUTE) == {"start": 0.1, "stop": 0.9}
    assert not hasattr(second, XYZ_ATTRIBUTE)
    assert not hasattr(p, XYZ_ATTRIBUTE)


@pytest.mark.parametrize("forge", [False, True])
def test_cells_are_independent(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    """They share one mapping of infotext pairs and one of comments."""
    host = Host(monkeypatch, forge=forge)
    grid = Processing(host, [True, "Auto", "Both", "published", True, True])
    made = cells(
        host, grid, {"Guidance": "False"}, {"Preset": "no such preset"}, {"Dilation": 2}, {"Layers": "mid"}, {}
    )  # fmt: skip
    pairs = [request.extra_generation_params for request, _ in made]
    assert pairs == [
        {"FouriScale": True, "FouriScale guidance": False},
        {},
        {
            "FouriScale": True, "FouriScale preset": "Custom", "FouriScale start": 0.2, "FouriScale stop": 0.6,
            "FouriScale dilation": 2.0,
        },
        {"FouriScale": True, "FouriScale layers": "mid"},
        {"FouriScale": True},
    ]  # fmt: skip
    assert [len(request.comments) for request, _ in made] == [0, 1, 0, 0, 0]
    for arguments, (_, picture) in zip(
        ({"guidance": False}, {"enabled": False}, {"dilation": 2}, {"layers": "mid"}, {}), made, strict=True
    ):
        _, (alone,) = host.request(arguments)
        assert largest(picture - alone) < 1e-6


@pytest.mark.parametrize("forge", [False, True])
def test_methods_side_by_side(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    """Low memory is the same picture and leaves no word in it; the others are other pictures and say so."""
    host = Host(monkeypatch, forge=forge)
    made = cells(
        host, Processing(host, [True]), {}, {"Low memory": "True"}, {"Fast": "True"}, {"Method": "scalecrafter"},
        {"Method": "attn-entropy"},
    )  # fmt: skip
    assert [request.extra_generation_params for request, _ in made] == [
        {"FouriScale": True}, {"FouriScale": True}, {"FouriScale": True, "FouriScale fast": True},
        {"FouriScale": True, "FouriScale method": "scalecrafter"},
        {"FouriScale": True, "FouriScale method": "attn-entropy"},
    ]  # fmt: skip
    pictures = [picture for _, picture in made]
    assert largest(pictures[0] - pictures[1]) < 1e-5
    for a, b in ((0, 2), (0, 3), (0, 4), (3, 4)):
        assert largest(pictures[a] - pictures[b]) > 1e-3


@pytest.mark.parametrize(
    "args", [[True], [False], [], [{"enabled": True}], [False, "Auto", "no pass"], [True, 7], [{"typo": 1}]]
)
def test_enabled_axis(monkeypatch: pytest.MonkeyPatch, args: list[Any]) -> None:
    """The axis has the last word, whatever the panel says."""
    host = Host(monkeypatch)
    (off, plain), (on, _) = cells(host, Processing(host, args), {"Enabled": "False"}, {"Enabled": "True"})
    assert (off.extra_generation_params, off.comments) == ({}, {})
    _, (without,) = host.request(False)
    assert largest(plain - without) == 0
    broken = args not in ([True], [False], [], [{"enabled": True}])
    assert ("FouriScale" in on.extra_generation_params) is not broken
    assert len(on.comments) == broken


def test_a_failing_cell_does_not_reach_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    grid = Processing(host, [True])
    with monkeypatch.context() as broken:
        broken.setattr("webui_standin.Sampler.sample", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            host.process_images(copy.copy(grid))
    ((_, picture),) = cells(host, grid, {"Enabled": "False"})
    _, (without,) = host.request(False)
    assert largest(picture - without) == 0
