"""Presets: the authors' twelve runs, names as people type them, files with mistakes, and what "Auto" picks."""

from __future__ import annotations

from pathlib import Path

import pytest

from fouriscale import Settings, SettingsError, plan_family
from fouriscale.settings import presets
from fouriscale.settings.presets import AUTO_SETTINGS, Preset, choose, find, load, read_file

# The runs of 50 DDIM steps: first and last step, dilation of the strong and of the weak rows.
SD_2 = [(0, 29, 2, 2), (30, 49, 1, 1)]
SD_3 = [(0, 19, 3, 3), (20, 29, 2, 2), (30, 49, 1, 1)]
SD_4 = [(0, 24, 4, 4), (25, 29, 3, 3), (30, 34, 2, 2), (35, 49, 1, 1)]
XL_2 = [(0, 27, 2, 2), (28, 34, 2, 1), (35, 49, 1, 1)]
XL_3 = [(0, 27, 3, 2), (28, 31, 2, 2), (32, 34, 2, 1), (35, 49, 1, 1)]
XL_4 = [(0, 24, 4, 3), (25, 29, 3, 2), (30, 32, 2, 2), (33, 34, 2, 1), (35, 49, 1, 1)]
# name, family, size, base, dilation, start, stop, CFG, steps
RUNS = [
    ("SD 1.5 1024x1024", "sd15", (1024, 1024), (512, 512), 2, 0.2, 0.6, 7.5, SD_2),
    ("SD 1.5 1280x1280", "sd15", (1280, 1280), (512, 512), 3, 0.2, 0.6, 7.5, SD_3),
    ("SD 1.5 2048x1024", "sd15", (2048, 1024), (512, 512), 4, 0.4, 0.7, 7.5, SD_4),
    ("SD 1.5 2048x2048", "sd15", (2048, 2048), (512, 512), 4, 0.4, 0.7, 7.5, SD_4),
    ("SD 2.1 1024x1024", "sd21", (1024, 1024), (512, 512), 2, 0.2, 0.6, 7.5, SD_2),
    ("SD 2.1 1280x1280", "sd21", (1280, 1280), (512, 512), 3, 0.2, 0.6, 7.5, SD_3),
    ("SD 2.1 2048x1024", "sd21", (2048, 1024), (512, 512), 4, 0.4, 0.7, 7.5, SD_4),
    ("SD 2.1 2048x2048", "sd21", (2048, 2048), (512, 512), 4, 0.4, 0.7, 7.5, SD_4),
    ("SDXL 2048x2048", "sdxl", (2048, 2048), (1024, 1024), 2, 0.4, 0.7, 5.0, XL_2),
    ("SDXL 2560x2560", "sdxl", (2560, 2560), (1088, 896), 3, 0.4, 0.7, 5.0, XL_3),
    ("SDXL 4096x2048", "sdxl", (4096, 2048), (1408, 704), 3, 0.4, 0.7, 5.0, XL_3),
    ("SDXL 4096x4096", "sdxl", (4096, 4096), (1024, 1024), 4, 0.4, 0.7, 5.0, XL_4),
]


STYLES = ["Reference", "Balanced", "Detail"]


def test_bundled_presets_are_three_styles_and_the_twelve_runs() -> None:
    assert [p.name for p in load()] == STYLES + [run[0] for run in RUNS]


@pytest.mark.parametrize("style", STYLES)
def test_styles_are_for_any_model_and_size_and_are_never_picked_by_auto(style: str) -> None:
    preset = find(style)
    assert preset is not None
    assert (preset.size, preset.run) == (None, {})
    assert all(preset.fits(family) for family in ("sd15", "sd21", "sdxl"))
    assert choose("any", 1024, 1024) is None


def test_reference_is_the_authors_runs_with_their_freeu() -> None:
    reference = find("Reference")
    assert reference is not None
    assert reference.settings == Settings(freeu=True)
    for name, family, size, _, dilation, start, stop, _, steps in RUNS:
        decided = plan_family(family, *size, reference.settings)
        assert (decided.dilation, decided.start, decided.stop, decided.method.steps(50)) == (
            dilation,
            start,
            stop,
            steps,
        ), name


# ratio of the sides to the base -> what Auto does: dilation at the start, None for nothing
@pytest.mark.parametrize(
    ("side", "dilation"), [(560, None), (568, 568 / 512), (640, 1.25), (768, 1.5), (968, 968 / 512)]
)
def test_auto_dilates_by_the_very_ratio_between_one_and_two(side: int, dilation: float | None) -> None:
    decided = plan_family("sd15", side, side, AUTO_SETTINGS)
    assert decided.active is (dilation is not None)
    if dilation is not None:
        assert decided.dilation == dilation
        treatment = decided.method.treatment(decided.layers[0], False, dilation, (side // 32, side // 32), 1)
        assert (treatment.dilation, treatment.stretch) == (1, pytest.approx(1 / dilation))
    for exact in (1024, 1280, 2048):  # from twice the base on, what the authors do
        assert (
            plan_family("sd15", exact, exact, AUTO_SETTINGS).method.steps()
            == plan_family("sd15", exact, exact).method.steps()
        )


@pytest.mark.parametrize(
    ("name", "family", "size", "base", "dilation", "start", "stop", "cfg", "steps"), RUNS, ids=[run[0] for run in RUNS]
)
def test_run(
    name: str, family: str, size: tuple[int, int], base: tuple[int, int], dilation: int, start: float, stop: float,
    cfg: float, steps: list[tuple[int, int, int, int]],
) -> None:  # fmt: skip
    preset = find(name)
    assert preset is not None
    assert (preset.name, preset.family, preset.size) == (name, family, size)
    assert preset.run == {"scheduler": "ddim", "eta": 1.0, "steps": 50, "cfg": cfg}
    assert preset.settings == Settings(start=start, stop=stop)
    decided = plan_family(family, *size, preset.settings)
    assert (decided.base, decided.dilation, decided.start, decided.stop) == (base, dilation, start, stop)
    assert decided.method.steps(50) == steps
    # Nothing else than the family's own defaults, so that "Auto" makes the same picture.
    by_default = plan_family(family, *size)
    assert (by_default.start, by_default.stop, by_default.dilation) == (start, stop, dilation)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("SD 1.5 1024x1024", "SD 1.5 1024x1024"),
        ("sd1.5 1024X1024", "SD 1.5 1024x1024"),
        ("  sd-1.5_1024×1024 ", "SD 1.5 1024x1024"),
        ("SD15-2048x1024", "SD 1.5 2048x1024"),
        ("sd21 1280 x 1280", "SD 2.1 1280x1280"),
        ("sdxl2560x2560", "SDXL 2560x2560"),
    ],
)
def test_find_ignores_case_spaces_and_punctuation(typed: str, name: str) -> None:
    found = find(typed)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("typed", ["Auto", "auto", " AUTO "])
def test_auto_is_no_preset(typed: str) -> None:
    assert find(typed) is None


@pytest.mark.parametrize("typed", ["", "SDXL", "SD 1.5 1024x1025", "sdxl 2048×2048 plus"])
def test_unknown_name_lists_the_known_ones(typed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        find(typed)
    message = str(caught.value)
    assert message.startswith(f"preset = {typed!r} is not allowed: one of Auto, ")
    assert [name for name, *_ in RUNS if name not in message] == []


@pytest.mark.parametrize(
    ("family", "width", "height", "name"),
    [
        ("sd15", 1024, 1024, "SD 1.5 1024x1024"),
        ("sd15", 2048, 1024, "SD 1.5 2048x1024"),
        ("sd15", 1024, 2048, "SD 1.5 2048x1024"),
        ("sd21", 1024, 2048, "SD 2.1 2048x1024"),
        ("sdxl", 2048, 4096, "SDXL 4096x2048"),
        ("sdxl", 4096, 4096, "SDXL 4096x4096"),
        ("sdxl", 1024, 1024, None),
        ("sd15", 4096, 4096, None),
        ("sd15", 1024, 1280, None),
    ],
)
def test_choose_by_family_and_size(family: str, width: int, height: int, name: str | None) -> None:
    chosen = choose(family, width, height)
    assert (chosen and chosen.name) == name


def test_choose_prefers_the_size_as_asked_to_the_turned_one() -> None:
    wide = Preset("wide", "sd15", (1024, 512), Settings())
    tall = Preset("tall", "sd15", (512, 1024), Settings())
    assert choose("sd15", 512, 1024, [wide, tall]) is tall
    assert choose("sd15", 1024, 512, [tall, wide]) is wide
    assert choose("sd15", 512, 1024, [wide]) is wide
    assert choose("sdxl", 512, 1024, [wide, tall]) is None


GOOD = """\
family: sd15
run: {steps: 30, cfg: 6}
presets:
  - {name: First, size: [768, 1024], start: 0.1, stop: 0.5, layers: mid, guidance: false, base: [640, 640]}
  - {name: Second, size: [1024, 768], run: {cfg: 4.5}}
"""


def test_own_folders_come_in_the_order_given(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(GOOD)
    (tmp_path / "a.yaml").write_text("family: sdxl\npresets: [{name: Third, size: [64, 64]}]")
    (tmp_path / "notes.txt").write_text("not a preset")
    third, first, second = load([tmp_path])
    assert first == Preset(
        "First", "sd15", (768, 1024),
        Settings(start=0.1, stop=0.5, layers="mid", guidance=False, base=(640, 640)), {"steps": 30, "cfg": 6},
    )  # fmt: skip
    assert second == Preset("Second", "sd15", (1024, 768), Settings(), {"steps": 30, "cfg": 4.5})
    assert third == Preset("Third", "sdxl", (64, 64), Settings(), {})
    assert [p.name for p in load([presets.bundled_folder(), tmp_path])][-3:] == ["Third", "First", "Second"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("family: [sd15", ["mine.yaml = ", "a readable YAML file"]),
        ("", ["mine.yaml = 'NoneType'", "the keys family and presets"]),
        ("- 1\n- 2", ["mine.yaml = 'list'", "the keys family and presets"]),
        ("family: sd15\npresets: {name: A}", ["mine.yaml = ", "the keys family and presets"]),
        ("presets: []", ["mine.yaml: family = None", "one of sd15, sd21, sdxl"]),
        ("family: sd3\npresets: []", ["mine.yaml: family = 'sd3'", "one of sd15, sd21, sdxl"]),
        ("family: [sd15]\npresets: []", ["mine.yaml: family = ['sd15']"]),
        ("family: sd15\npresets: [A]", ["mine.yaml: presets = 'A'", "each have a name"]),
        ("family: sd15\npresets: [{size: [64, 64]}]", ["mine.yaml: presets = ", "each have a name"]),
        ("family: sd15\npresets: [{name: 3, size: [64, 64]}]", ["mine.yaml: presets = ", "each have a name"]),
        ("family: sd15\nrun: fast\npresets: [{name: A, size: [64, 64]}]", ["mine.yaml: run = 'fast'", "a mapping"]),
        ("family: sd15\nrun: {step: 3}\npresets: [{name: A}]", ["mine.yaml: run.step = 3", "scheduler, eta, steps"]),
    ],
)
def test_mistakes_in_a_file_name_the_file_and_the_field(tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_file(tmp_path / "mine.yaml")
    message = str(caught.value)
    assert [part for part in parts if part not in message] == []
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("entry", "field", "allowed"),
    [
        ("size: [64, 64], stat: 0.1", "stat = 0.1", "unknown field; known are name, size, run, "),
        ("size: [64, 64], family: sd15", "family = 'sd15'", "unknown field"),
        ("size: [64, 64], 3: 4", "3 = 4", "unknown field"),
        ("size: [64, 64], start: soon", "start = 'soon'", "a number from 0 to 1"),
        ("size: [64, 64], start: 0.8, stop: 0.2", "start = 0.8", "a number from 0 to stop (0.2)"),
        ("size: [64, 64], stop: 1.5", "stop = 1.5", "a number from 0 to 1"),
        ("size: [64, 64], guidance: 1", "guidance = 1", "true or false"),
        ("size: [64, 64], layers: [mid]", "layers = ['mid']", "published"),
        ("size: [64, 64], base: 512", "base = 512", "two multiples of 8"),
        ("size: [64, 64], dilation: .nan", "dilation = nan", "a number from 1 to 16"),
        ("start: 0.1", "size = None", "[width, height] in pixels"),
        ("size: 64", "size = 64", "[width, height] in pixels"),
        ("size: 64x64", "size = '64x64'", "[width, height] in pixels"),
        ("size: [64, 64, 64]", "size = [64, 64, 64]", "[width, height] in pixels"),
        ("size: [64, 65]", "size = [64, 65]", "multiples of 8"),
        ("size: [64.0, 64]", "size = [64.0, 64]", "[width, height] in pixels"),
        ("size: [8, 64]", "size = [8, 64]", "from 64 to 16384"),
        ("size: [64, 64], run: [50]", "run = [50]", "a mapping of scheduler, eta, steps, cfg"),
        ("size: [64, 64], run: {speed: 2}", "run.speed = 2", "scheduler, eta, steps, cfg"),
        ("size: [64, 64], run: {steps: many}", "run.steps = 'many'", "a number"),
        ("size: [64, 64], run: {steps: 2.5}", "run.steps = 2.5", "a number"),
        ("size: [64, 64], run: {cfg: true}", "run.cfg = True", "a number"),
        ("size: [64, 64], run: {scheduler: 5}", "run.scheduler = 5", "a text"),
    ],
)
def test_mistakes_in_a_preset_name_file_preset_and_field(tmp_path: Path, entry: str, field: str, allowed: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"family: sd15\npresets: [{{name: Big one, {entry}}}]")
    with pytest.raises(SettingsError) as caught:
        load([tmp_path])
    message = str(caught.value)
    assert message.startswith(f"mine.yaml: Big one: {field} is not allowed: ")
    assert allowed in message


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^absent\.yaml = .*a readable YAML file"):
        read_file(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"family: \xff\xfe")
    with pytest.raises(SettingsError, match=r"^bytes\.yaml = .*a readable YAML file"):
        load([tmp_path])
