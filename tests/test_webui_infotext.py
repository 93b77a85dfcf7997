"""What is written into a picture, pasted back, gives the same picture."""

from __future__ import annotations

import dataclasses
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fouriscale import Plan, SettingsError, plan_family
from fouriscale.hosts.webui.args import CUSTOM_FIELDS, DEFAULTS, FIELDS, Parsed, ScriptArgs, parse, resolve
from fouriscale.hosts.webui.infotext import LABELS, fields_of, paste_functions
from fouriscale.settings.fields import PASSES
from fouriscale.settings.infotext import from_fields
from fouriscale.settings.presets import Preset, load
from fouriscale.settings.settings import LAYER_SETS, METHODS, ROUNDINGS, Settings
from webui_standin import infotext, parse_infotext

MINE = [
    Preset("Mine, as ever: 2", "sdxl", (2048, 2048), Settings(start=0.1, layers="mid", guidance=False, filter=False)),
    Preset("1024x1024", "sd15", (1024, 1024), Settings(dilation=3.0, base=(256, 512), stopband_weak=0.3)),
]
PRESETS = load() + MINE
WRITTEN = DEFAULTS.replace(enabled=True, coarse=0.0)  # what the least text restores: without a coarse start
SIZES = {"sd15": (1024, 1024), "sd21": (1280, 1280), "sdxl": (2048, 2048)}


def written(fields: dict[str, Any]) -> str:
    return infotext(SimpleNamespace(cfg_scale=7.0, extra_generation_params=fields))  # type: ignore[arg-type]


def pasted(text: str) -> ScriptArgs:
    """The controls' values after pasting."""
    pairs = parse_infotext(text)
    return DEFAULTS.replace(**{name: read(pairs) for name, read in paste_functions().items()})


def done(parsed: Parsed, family: str, size: tuple[int, int] | None = None) -> tuple[Plan, str]:
    """What a run with these arguments does, and the preset that it names."""
    size = size or SIZES[family]
    chosen, name = resolve(parsed, family, *size, PRESETS)
    return plan_family(family, *size, chosen), name


def same_after_pasting(parsed: Parsed, family: str, size: tuple[int, int] | None = None) -> None:
    """Check that pasting restores the settings, the plan, and what only the script looks at."""
    plan, name = done(parsed, family, size)
    text = written(fields_of(parsed, name, plan))
    args = pasted(text)
    restored, _ = done(parse(args.values), family, size)
    assert args.low_memory is False  # nothing to paste
    plan, restored = (
        plan_family(
            family, *p.size, p.settings.replace(low_memory=False, coarse=p.settings.coarse or 0.0)
        ) for p in (plan, restored)
    )  # fmt: skip
    wanted = plan.settings
    if parsed.explicit and parsed.args.preset.lower() != "custom":  # a preset's name cannot stand beside single values
        assert args.preset == "Custom"
        stop = plan.stop if wanted.stop is None else wanted.stop
        wanted = wanted.replace(start=min(plan.start if wanted.start is None else wanted.start, stop), stop=stop)
    if plan.stop == 0.0:  # switched off, whatever start is; what is written is not behind stop
        plan = plan_family(family, *plan.size, wanted)
    assert restored == dataclasses.replace(plan, settings=wanted)
    read = from_fields(parse_infotext(text), family, size or SIZES[family], PRESETS)
    assert read == wanted  # so the picture can be made without the WebUI
    assert args.enabled is True
    assert (args.passes, args.size_conditioning) == (parsed.args.passes, parsed.args.size_conditioning)


def values(random: Random, family: str) -> dict[str, Any]:
    """Arguments by name that can be run."""

    def number(low: float, high: float) -> float:
        return random.choice([low, high, random.uniform(low, high), round(random.uniform(low, high), 2)])

    start = number(0, 1)
    layers = [*LAYER_SETS, "mid_block.*", "down_blocks.2.*, mid_block.resnets.[01].conv?"]
    return {
        "enabled": True,
        "preset": random.choice(["Auto", "Custom", *(p.name for p in PRESETS if p.family == family)]),
        "passes": random.choice(PASSES),
        "layers": random.choice(layers),
        "guidance": random.random() < 0.5,
        "filter": random.random() < 0.5,
        "size_conditioning": random.random() < 0.5,
        "start": start,
        "stop": number(start, 1),
        "dilation": random.choice([0.0, 0.5, 2, number(1, 16)]),
        "base": random.choice(["", "auto", "512x768", "64×64"]),
        "stopband_strong": random.choice([-1.0, number(0, 1)]),
        "stopband_weak": random.choice([-1.0, number(0, 1)]),
        "amp_guidance": random.choice([1.0, number(1, 10)]),
        "freeu": random.random() < 0.5,
        "method": random.choice(list(METHODS)),
        "low_memory": random.random() < 0.5,
        "fast": random.random() < 0.5,
        "rounding": random.choice(ROUNDINGS),
        "coarse": random.choice([-1.0, 0.0, number(0, 1)]),
    }


@given(seed=st.integers(0, 2**64))
@settings(max_examples=300, deadline=None)
def test_pasting_restores_the_run(seed: int) -> None:
    random = Random(seed)
    family = random.choice(list(SIZES))
    fields = values(random, family)
    if random.random() < 0.5:
        parsed = parse([fields[name] for name in FIELDS])
    else:
        parsed = parse([{name: fields[name] for name in random.sample(FIELDS, random.randint(0, len(FIELDS)))}])
    try:
        done(parsed, family)
    except SettingsError:  # a start by name after the preset's stop
        return
    if parsed.args.enabled:
        same_after_pasting(parsed, family)


@pytest.mark.parametrize("family", SIZES)
def test_single_values_keep_the_models_own_window(family: str) -> None:
    """Custom has no "as the model wants it" for start and stop, so what they came to is written."""
    parsed = parse([{"dilation": 4}])
    plan, name = done(parsed, family, (1536, 1536))
    fields = fields_of(parsed, name, plan)
    assert fields["FouriScale preset"] == "Custom"
    assert (fields["FouriScale start"], fields["FouriScale stop"]) == (0.4, 0.7)
    same_after_pasting(parsed, family, (1536, 1536))


def test_single_values_keep_what_the_preset_switched_off() -> None:
    parsed = parse([{"preset": MINE[0].name, "stop": 0.9}])
    plan, name = done(parsed, "sdxl")
    assert fields_of(parsed, name, plan) == {
        "FouriScale": True, "FouriScale preset": "Custom", "FouriScale layers": "mid", "FouriScale guidance": False,
        "FouriScale filter": False, "FouriScale start": 0.1, "FouriScale stop": 0.9, "FouriScale rounding": "up",
    }  # fmt: skip
    same_after_pasting(parsed, "sdxl")


@pytest.mark.parametrize("mine", MINE, ids=lambda preset: preset.name)
def test_any_name_of_a_preset_survives(mine: Preset) -> None:
    """Names with commas and colons are quoted; what looks like a size is split by the host."""
    parsed = parse([True, mine.name])
    plan, name = done(parsed, mine.family)
    text = written(fields_of(parsed, name, plan))
    assert pasted(text).preset == mine.name
    same_after_pasting(parsed, mine.family)


def test_four_freeu_numbers_of_a_preset_are_written_and_pasted_as_on() -> None:
    """Single values turn the preset into "Custom", so the numbers stand in the text; the control is a switch."""
    mine = Preset("Mine", "sd15", (1024, 1024), Settings(freeu=(1.2, 1.4, 0.9, 0.2)))
    parsed = parse([{"preset": "mine", "stop": 0.9}])
    chosen, name = resolve(parsed, "sd15", 1024, 1024, [mine])
    fields = fields_of(parsed, name, plan_family("sd15", 1024, 1024, chosen))
    assert fields == {
        "FouriScale": True, "FouriScale preset": "Custom", "FouriScale FreeU": "1.2x1.4x0.9x0.2",
        "FouriScale start": 0.2, "FouriScale stop": 0.9, "FouriScale rounding": "up",
    }  # fmt: skip
    args = pasted(written(fields))
    assert args.freeu is True
    assert (args.preset, args.stop) == ("Custom", 0.9)
    assert pasted(written({"FouriScale": True, "FouriScale FreeU": False})).freeu is False


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("window", [{"start": 0.9}, {"stop": 0.1}, {"start": 0.1, "stop": 0.2}, {"dilation": 3}])
def test_a_window_that_the_method_has_no_use_for_is_pasted_all_the_same(method: str, window: dict[str, float]) -> None:
    """ScaleCrafter has no start, attention entropy no window; what is written must stay within what Custom allows."""
    same_after_pasting(parse([{"method": method, **window}]), "sd15", (1032, 1032))  # a size without a preset


def test_low_memory_is_not_written() -> None:
    parsed = parse([{"low_memory": True, "fast": True, "method": "scalecrafter"}])
    plan, name = done(parsed, "sd15")
    assert plan.settings.low_memory is True
    fields = fields_of(parsed, name, plan)
    assert fields == {"FouriScale": True, "FouriScale method": "scalecrafter", "FouriScale fast": True}
    assert pasted(written(fields)) == WRITTEN.replace(method="scalecrafter", fast=True)


def test_defaults_write_one_pair() -> None:
    plan, name = done(parse([True]), "sdxl")
    assert fields_of(parse([True]), name, plan) == {"FouriScale": True}


def test_pasting_another_text_resets_the_controls() -> None:
    assert pasted(written({})) == DEFAULTS
    assert pasted("a prompt without settings") == DEFAULTS
    assert pasted(written({"FouriScale": True})) == WRITTEN


MINE_COARSE = Preset("Coarse", "sd15", (1024, 1024), Settings(coarse=0.6))


@pytest.mark.parametrize("preset", ["Auto", "Custom", "Coarse"])
@pytest.mark.parametrize(("given", "key"), [(-1, None), (0, None), (0.7, 0.7)])
def test_a_coarse_start_is_told_both_ways(preset: str, given: float, key: float | None) -> None:
    """The text names it where there was one, be it the preset's; without the key there was none, whatever the preset
    has now: pictures from before there was such a thing are pasted as they were made.
    """
    presets = [*PRESETS, MINE_COARSE]
    parsed = parse([{"preset": preset, "coarse": given}])
    chosen, name = resolve(parsed, "sd15", 1024, 1024, presets)
    fields = fields_of(parsed, name, plan_family("sd15", 1024, 1024, chosen))
    made_with = 0.6 if (preset, given) == ("Coarse", -1) else key
    assert fields.get("FouriScale coarse") == made_with
    args = pasted(written(fields))
    assert (args.preset, args.coarse) == (preset, made_with or 0.0)
    assert resolve(parse(args.values), "sd15", 1024, 1024, presets)[0].coarse == (made_with or 0.0)
    assert from_fields(parse_infotext(written(fields)), "sd15", (1024, 1024), presets).coarse == (made_with or 0.0)


def test_a_text_from_before_the_coarse_start() -> None:
    for text in ("", ", FouriScale preset: Coarse", ", FouriScale start: 0.1, FouriScale stop: 0.9"):
        args = pasted(f"a cat\nSteps: 20, FouriScale: True{text}")
        assert args.coarse == 0.0
        assert resolve(parse(args.values), "sd15", 1024, 1024, [*PRESETS, MINE_COARSE])[0].coarse == 0.0
    assert pasted("a cat\nSteps: 20").coarse == -1.0  # FouriScale was not at work; nothing to restore


@pytest.mark.parametrize("text", ["nonsense", "nan", "1e9", "-5", "", "12x34"])
def test_bad_values_are_the_default(text: str) -> None:
    for name in LABELS:
        pairs = {LABELS[name]: text}
        value = paste_functions()[name](pairs)
        if name not in ("preset", "layers"):  # any text may name these
            assert value == getattr(DEFAULTS, name)
        assert type(value) is type(getattr(DEFAULTS, name))
        parse([{name: value}])


def test_values_have_the_controls_types() -> None:
    """The API casts what is not of the control's type, and bool("False") is true."""
    for name, text in (
        ("enabled", "True"),
        ("guidance", "False"),
        ("filter", "false"),
        ("start", "1"),
        ("base", "64x64"),
    ):
        value = paste_functions()[name]({LABELS[name]: text})
        assert type(value) is type(getattr(DEFAULTS, name))
        assert value == {"True": True, "False": False, "false": False, "1": 1.0}.get(text, text)


def test_labels() -> None:
    """One per argument that changes the picture, all prefixed, in characters that the host's pattern for keys takes."""
    assert tuple(LABELS) == tuple(name for name in FIELDS if name != "low_memory")
    assert tuple(paste_functions()) == tuple(LABELS)
    assert len(set(LABELS.values())) == len(LABELS)
    assert set(CUSTOM_FIELDS) < set(LABELS)
    pairs = parse_infotext("x\n" + ", ".join(f"{label}: {i}" for i, label in enumerate(LABELS.values())))
    assert pairs == {label: str(i) for i, label in enumerate(LABELS.values())}
    assert all(label.startswith("FouriScale") for label in pairs)
