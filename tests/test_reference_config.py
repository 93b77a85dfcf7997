"""The authors' configurations: the published ones, what the fields mean step by step, and what mistakes are told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fouriscale import Settings
from fouriscale.errors import SettingsError
from fouriscale.lab.published_config import read
from fouriscale.maths.sizes import SDXL_BUCKETS
from fouriscale.planning import plan_structure
from fouriscale.settings import presets
from fouriscale.unet.structure import blueprint_structure
from test_cli import Cli, assert_one_line, cli, models, parameters, pixels  # noqa: F401
from test_infotext import parsed

# name, start_step, stop_step, latent height, latent width, inference_batch_size
PUBLISHED = [
    ("SD 1.5 1024x1024", 10, 30, 128, 128, 1),
    ("SD 1.5 1280x1280", 10, 30, 160, 160, 1),
    ("SD 1.5 2048x1024", 20, 35, 128, 256, 1),
    ("SD 1.5 2048x2048", 20, 35, 256, 256, 1),
    ("SD 2.1 1024x1024", 10, 30, 128, 128, 1),
    ("SD 2.1 1280x1280", 10, 30, 160, 160, 1),
    ("SD 2.1 2048x1024", 20, 35, 128, 256, 1),
    ("SD 2.1 2048x2048", 20, 35, 256, 256, 1),
    ("SDXL 2048x2048", 20, 35, 256, 256, 4),
    ("SDXL 2560x2560", 20, 35, 320, 320, 1),
    ("SDXL 4096x2048", 20, 35, 256, 512, 1),
    ("SDXL 4096x4096", 20, 35, 512, 512, 1),
]
SD_LEVELS = {"down_blocks.0": 0, "down_blocks.1": 1, "down_blocks.2": 2, "down_blocks.3": 3, "mid_block": 3} | {
    "up_blocks.0": 3, "up_blocks.1": 2, "up_blocks.2": 1, "up_blocks.3": 0,
}  # fmt: skip


def convs(block: str, resnets: int) -> list[str]:
    return [f"{block}.resnets.{r}.conv{c}" for r in range(resnets) for c in (1, 2)]


def sd_layers() -> list[str]:
    """The 34 convolutions of the authors' SD runs, in an order of their own."""
    down = [*convs("down_blocks.2", 2), "down_blocks.2.downsamplers.0.conv", *convs("down_blocks.3", 2)]
    up = [name for b in (0, 1, 2) for name in (*convs(f"up_blocks.{b}", 3), f"up_blocks.{b}.upsamplers.0.conv")]
    return [*down, *up, *convs("mid_block", 2)]


def xl_layers() -> list[str]:
    up = [*convs("up_blocks.0", 3), "up_blocks.0.upsamplers.0.conv", *convs("up_blocks.1", 3)]
    return [*convs("down_blocks.2", 2), *up, *convs("mid_block", 2)]


def sd_bases(height: int = 64, width: int = 64) -> list[str]:
    lines = []
    for name in sd_layers():
        level = SD_LEVELS[name.split(".resnets")[0].split(".downs")[0].split(".ups")[0]]
        lines.append(f"{name}:{height / 2**level:g},{width / 2**level:g}")
    return lines


def xl_bases() -> list[str]:
    return [f"{h / w:.2f}:{h},{w}" for w, h in SDXL_BUCKETS]


def write(root: Path, fields: dict[str, object], layers: list[str], bases: list[str], name: str = "run.yaml") -> Path:
    """A configuration in `configs` beside the `assets` that it names, as the authors lay them out."""
    for folder, lines in (("layer_settings", layers), ("base_settings", bases)):
        (root / "assets" / folder).mkdir(parents=True, exist_ok=True)
        (root / "assets" / folder / "list.txt").write_text("\n".join(lines))
    path = root / "configs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    return path


def sd_fields(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "start_step": 10, "stop_step": 30, "layer_settings": "./assets/layer_settings/list.txt",
        "base_settings": "./assets/base_settings/list.txt", "progressive": "true", "num_inference_steps": 50,
        "inference_batch_size": 1, "num_iters_per_prompt": 1, "latent_height": 128, "latent_width": 128,
        "base_height": 64, "base_width": 64,
    }  # fmt: skip
    return {k: v for k, v in {**fields, **changes}.items() if v != ""}


def xl_fields(**changes: object) -> dict[str, object]:
    sides = {"latent_height": 256, "latent_width": 256, "pixel_height": 2048, "pixel_width": 2048}
    return sd_fields(base_height="", base_width="", **{**sides, **changes})


@pytest.mark.parametrize(
    ("name", "start", "stop", "height", "width", "batch"), PUBLISHED, ids=[p[0] for p in PUBLISHED]
)
def test_published_configurations_are_the_presets(
    tmp_path: Path, name: str, start: int, stop: int, height: int, width: int, batch: int
) -> None:
    is_xl = name.startswith("SDXL")
    sides = {"latent_height": height, "latent_width": width, "inference_batch_size": batch}
    if is_xl:
        sides |= {"pixel_height": 8 * height, "pixel_width": 8 * width}
    fields = (xl_fields if is_xl else sd_fields)(start_step=start, stop_step=stop, progressive="True", **sides)
    path = write(tmp_path, fields, xl_layers() if is_xl else sd_layers(), xl_bases() if is_xl else sd_bases())
    config = read(path)
    preset = presets.find(name)
    assert preset is not None
    assert config.settings(blueprint_structure(preset.family)) == preset.settings
    assert preset.settings == Settings(start=start / 50, stop=stop / 50)
    assert (config.size, config.steps, config.batch, config.count) == (preset.size, preset.run["steps"], batch, 1)


@settings(max_examples=150, deadline=None)
@given(
    start=st.integers(0, 40), stop=st.integers(0, 40), steps=st.integers(1, 60), progressive=st.booleans(),
    side=st.sampled_from([64, 96, 128, 160, 256]),
)  # fmt: skip
def test_every_step_is_dilated_as_the_authors_count(
    tmp_path_factory: pytest.TempPathFactory, start: int, stop: int, steps: int, progressive: bool, side: int
) -> None:
    fields = sd_fields(
        start_step=start, stop_step=stop, num_inference_steps=steps, progressive=str(progressive).lower(),
        latent_height=side, latent_width=side,
    )  # fmt: skip
    path = write(tmp_path_factory.mktemp("run"), fields, sd_layers(), sd_bases())
    if progressive and start < stop and stop > steps:
        with pytest.raises(SettingsError, match=f"stop_step = {stop} is not allowed: a step from 0"):
            read(path)
        return
    config = read(path)
    structure = blueprint_structure("sd15")
    plan = plan_structure(structure, *config.size, config.settings(structure))
    full = math.ceil(side / 64)
    for step in range(steps):
        expected = float(full)
        if progressive and step >= start and step < stop:
            expected = max((full - 1.0) * ((stop - step) / (stop - start)) + 1.0, 1.0)
        if step >= stop:
            expected = 1.0
        assert plan.dilation_at((step, steps)) == expected, step
    assert config.steps == steps


def test_other_layers_and_bases(tmp_path: Path) -> None:
    structure = blueprint_structure("sd21")
    chosen = ["mid_block.resnets.1.conv2", "down_blocks.3.resnets.0.conv1"]
    bases = ["down_blocks.3.resnets.0.conv1:12,16", "mid_block.resnets.1.conv2:12.0, 16"]
    fields = sd_fields(base_height=96, base_width=128, latent_height=200, latent_width=192, num_iters_per_prompt=3)
    config = read(write(tmp_path, fields, ["", *chosen, " "], bases))
    made = config.settings(structure)
    assert made == Settings(
        start=0.2, stop=0.6, base=(1024, 768), layers="down_blocks.3.resnets.0.conv1,mid_block.resnets.1.conv2"
    )
    assert (config.size, config.count) == ((1536, 1600), 3)
    assert plan_structure(structure, *config.size, made).dilation == 3  # ceil(200/96) over ceil(192/128)
    mid = read(write(tmp_path, sd_fields(), convs("mid_block", 2), sd_bases()))
    assert mid.settings(structure) == Settings(start=0.2, stop=0.6, layers="mid")


def test_no_layers_switch_it_off(tmp_path: Path) -> None:
    config = read(write(tmp_path, sd_fields(layer_settings="null", base_settings="null"), [], []))
    structure = blueprint_structure("sd15")
    plan = plan_structure(structure, *config.size, config.settings(structure))
    assert not plan.active


def test_bases_of_sdxl_are_chosen_from_the_file(tmp_path: Path) -> None:
    structure = blueprint_structure("sdxl")
    size = {"latent_height": 256, "latent_width": 512, "pixel_height": 2048, "pixel_width": 4096}
    # 704×1408 needs ceil scales (3, 3) and pads 64 + 128; 1024×1024 has scales (2, 4), which are unequal.
    lines = ["1.0:1024,1024", "0.5:704,1408", "0.57:768,1344"]
    assert read(write(tmp_path, xl_fields(**size), xl_layers(), lines)).settings(structure).base is None
    lines = ["1.0:1024,1024", "0.5:688,1376"]
    made = read(write(tmp_path, xl_fields(**size), xl_layers(), lines)).settings(structure)
    assert made == Settings(start=0.2, stop=0.6, base=(1376, 688))
    # Equal keys: the last counts.
    lines = ["0.5:688,1376", "1.0:1024,1024", "0.5:704,1408"]
    assert read(write(tmp_path, xl_fields(**size), xl_layers(), lines)).settings(structure).base is None


def test_paths_count_from_here_or_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "here", sd_fields(), ["mid_block.resnets.0.conv1"], [])
    path = write(tmp_path / "there", sd_fields(), sd_layers(), sd_bases())
    assert len(read(path).layers) == 34
    monkeypatch.chdir(tmp_path / "here")
    assert [entry.value for entry in read(path).layers] == ["mid_block.resnets.0.conv1"]


MISTAKES = [
    (sd_fields(start_step="ten"), "run.yaml, line 1: start_step = 'ten' is not allowed: a whole number from 0"),
    (sd_fields(stop_step=-1), "run.yaml, line 2: stop_step = -1 is not allowed: a whole number from 0"),
    (sd_fields(stop_step="true"), "run.yaml, line 2: stop_step = True is not allowed: a whole number"),
    (sd_fields(stop_step=51), "line 2: stop_step = 51 is not allowed: a step from 0 to num_inference_steps (50)"),
    (sd_fields(progressive="maybe"), "line 5: progressive = 'maybe' is not allowed: true or false"),
    (sd_fields(num_inference_steps=0), "line 6: num_inference_steps = 0 is not allowed: a whole number from 1"),
    (sd_fields(latent_width="[1, 2]"), "run.yaml, line 10: latent_width = 'sequence' is not allowed: a single value"),
    (sd_fields(start_step="2024-13-45"), "run.yaml, line 1: start_step = '2024-13-45' is not allowed: a whole number"),
    (sd_fields(start_step="2024-12-05"), "line 1: start_step = datetime.date(2024, 12, 5) is not allowed: a whole"),
    (sd_fields(start_step="9" * 5000), "run.yaml, line 1: start_step = '9999999999999999999999999999999999999999' is"),
    (sd_fields(start_step="!!bool maybe"), "run.yaml, line 1: start_step = 'maybe' is not allowed: a whole number"),
    (sd_fields(start_step="!!float maybe"), "run.yaml, line 1: start_step = 'maybe' is not allowed: a whole number"),
    (sd_fields(start_step="3\0"), "special characters are not allowed"),
    (sd_fields(start_step="[" * 3000 + "]" * 3000), "run.yaml = 'start_step: [[["),
    ({**sd_fields(), "? [a]\n": 3}, "a single value, as all fields have"),
    (sd_fields(base_width=4), "line 12: base_width = 4 is not allowed: a whole number from 8 to 512"),
    (sd_fields(colour="red"), "line 13: colour = 'red' is not allowed: unknown field; known are start_step, stop_step"),
    (sd_fields(base_width=""), "run.yaml: base_width = None is not allowed: a value; the field is missing"),
    (sd_fields(progressive=""), "run.yaml: progressive = None is not allowed: a value; the field is missing"),
    (sd_fields(latent_width=""), "run.yaml: latent_width = None is not allowed: a value; the field is missing"),
    (xl_fields(pixel_width=2000), "line 12: pixel_width = 2000 is not allowed: 2048, 8 times latent_width"),
    (sd_fields(latent_width=4096), "line 10: latent_width = 4096 is not allowed: a multiple of 8 from 64 to 16384"),
    (
        sd_fields(layer_settings="no/such.txt"),
        "line 3: layer_settings = 'no/such.txt' is not allowed: a file that exists",
    ),
    (sd_fields(layer_settings="7"), "line 3: layer_settings = 7 is not allowed: the path of a text file, or null"),
    (sd_fields(start_step="!!python/object:os.system x"), "run.yaml, line 1 = "),
    (sd_fields(start_step="[1"), "run.yaml, line 2 = "),
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_mistakes_name_file_line_field_and_value(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    path = write(tmp_path, fields, sd_layers(), sd_bases() if "base_height" in fields else xl_bases())
    with pytest.raises(SettingsError) as raised:
        read(path)
    assert message in str(raised.value)


def test_a_missing_file_says_where_it_was_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    path = write(tmp_path, sd_fields(base_settings="no.txt"), sd_layers(), [])
    with pytest.raises(SettingsError) as raised:
        read(path)
    assert f"tried /no.txt, {tmp_path / 'configs' / 'no.txt'}, {tmp_path / 'no.txt'}" in str(raised.value)
    with pytest.raises(SettingsError, match=r"config = '.*gone.yaml' is not allowed: a file that exists"):
        read(tmp_path / "gone.yaml")
    (tmp_path / "huge.yaml").write_text("# " + "x" * 2**20)
    with pytest.raises(SettingsError, match=r"config = '.*huge.yaml' is not allowed: a text file of at most 1048576"):
        read(tmp_path / "huge.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(
        SettingsError, match=r"list.yaml = '- 1.*' is not allowed: a mapping with the fields start_step"
    ):
        read(tmp_path / "list.yaml")


def test_a_field_twice(tmp_path: Path) -> None:
    path = write(tmp_path, sd_fields(), sd_layers(), sd_bases())
    path.write_text(path.read_text() + "stop_step: 40\n")
    with pytest.raises(SettingsError, match="line 13: stop_step = 40 is not allowed: one line"):
        read(path)


@pytest.mark.parametrize(
    ("layers", "bases", "message"),
    [
        (["mid_block.resnets.0.conv1", "conv_in"], [], r"list.txt, line 2 = 'conv_in' .* 3×3 convolution"),
        (["mid_block.resnets.0.conv1"], ["mid_block.resnets.0.conv1=8"], "line 1 = .* LAYER:HEIGHT,WIDTH"),
        (["mid_block.resnets.0.conv1"], ["mid_block.resnets.0.conv1:8,0"], "line 1 = .* LAYER:HEIGHT,WIDTH"),
        (["mid_block.resnets.0.conv1"], ["", "mid_block.resnets.0.conv1:8,9"], "line 2 = '8,9' .* 8,8, since"),
        (["mid_block.resnets.0.conv1"], ["up_blocks.0.resnets.0.conv1:8,8"], "line 1 = 'mid.* base_settings has"),
    ],
)  # fmt: skip
def test_mistakes_in_the_lists(tmp_path: Path, layers: list[str], bases: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(write(tmp_path, sd_fields(), layers, bases)).settings(blueprint_structure("sd15"))


def test_mistakes_in_sdxls_bases(tmp_path: Path) -> None:
    for line, part in (("wide:512,512", "RATIO:HEIGHT,WIDTH"), ("1:500,512", "multiples of 8"), ("1:512", "RATIO:H")):
        with pytest.raises(SettingsError, match=f"list.txt, line 2 = '{line}' .*{part}"):
            read(write(tmp_path, xl_fields(), xl_layers(), ["1.0:1024,1024", line]))


def test_the_other_program_s_configuration(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"config = 'run.yaml' .* since this model is sdxl"):
        read(write(tmp_path, sd_fields(), sd_layers(), sd_bases())).settings(blueprint_structure("sdxl"))
    with pytest.raises(SettingsError, match=r"config = 'run.yaml' .* since this model is sd15"):
        read(write(tmp_path, xl_fields(), xl_layers(), xl_bases())).settings(blueprint_structure("sd15"))


def test_generate_reads_it_and_options_overrule(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    small = {"latent_height": 16, "latent_width": 24, "base_height": 8, "base_width": 8, "num_inference_steps": 4}
    fields = sd_fields(start_step=1, stop_step=3, num_iters_per_prompt=2, inference_batch_size=2, **small)
    path = write(tmp_path, fields, convs("mid_block", 2), [f"{name}:1,1" for name in convs("mid_block", 2)])
    basic = ("generate", "--model", models["sd15"], "--prompt", "a cat", "--config", path)
    code, out, err = cli(*basic, "--out", "a")
    assert (code, err) == (0, "")
    assert out.startswith("FouriScale for sd15, 192×128, base 64×64: dilation 3")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["00001-0-a-cat.png", "00001-1-a-cat.png"]
    found = parsed(parameters(tmp_path / "a" / "00001-1-a-cat.png"))
    keys = ("Size", "Steps", "CFG scale", "Eta DDIM", "FouriScale start", "FouriScale stop", "FouriScale layers")
    assert [found.get(key) for key in keys] == ["192x128", "4", "7.5", "1.0", "0.25", "0.75", "mid"]
    assert found["FouriScale preset"] == "Custom"

    changes = ("--width", 128, "--steps", 3, "--stop", 0.5, "--count", 1, "--batch-size", 1)
    code, _, err = cli(*basic, "--out", "b", *changes)
    assert (code, err) == (0, "")
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["00001-0-a-cat.png"]
    found = parsed(parameters(tmp_path / "b" / "00001-0-a-cat.png"))
    assert [found.get(key) for key in keys] == ["128x128", "3", "7.5", "1.0", "0.25", "0.5", "mid"]
    assert pixels(tmp_path / "b" / "00001-0-a-cat.png").shape == (128, 128, 3)


def test_generate_refuses_in_one_line(cli: Cli, models: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    path = write(tmp_path, sd_fields(), ["mid_block.resnets.7.conv1"], [])
    basic = ("generate", "--model", models["sd15"], "--prompt", "a cat", "--config", path)
    assert_one_line(cli(*basic), ["list.txt, line 1 = 'mid_block.resnets.7.conv1'", "3×3 convolution"])
    assert_one_line(
        cli(*basic, "--preset", "SD 1.5 1024x1024"), ["preset = 'SD 1.5 1024x1024'", "Auto beside --config"]
    )
    assert_one_line(cli(*basic[:-1], "gone.yaml"), ["config = 'gone.yaml'", "tried"])
    assert not (tmp_path / "outputs").exists()
