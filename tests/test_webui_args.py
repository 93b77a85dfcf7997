"""The script's arguments: a contract with API users, whatever they send."""

from __future__ import annotations

import contextlib
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fouriscale import Settings, SettingsError
from fouriscale.hosts.webui.args import (
    CUSTOM_FIELDS,
    DEFAULTS,
    FIELDS,
    Parsed,
    parse,
    resolve,
    wants,
)
from fouriscale.settings.fields import PASSES
from fouriscale.settings.presets import AUTO_SETTINGS, Preset, load
from fouriscale.settings.settings import BY_NAME, FAMILIES, LAYER_SETS, METHODS, ROUNDINGS

# Pinned: API users send these by position. New ones go to the end.
POSITIONS = [
    ("enabled", False), ("preset", "Auto"), ("passes", "Both"), ("layers", "published"), ("guidance", True),
    ("filter", True), ("size_conditioning", True), ("start", 0.2), ("stop", 0.6), ("dilation", 0.0), ("base", ""),
    ("stopband_strong", -1.0), ("stopband_weak", -1.0), ("amp_guidance", 1.0), ("freeu", False),
    ("method", "fouriscale"), ("low_memory", False), ("fast", False), ("rounding", "auto"),
    ("coarse", -1.0),
]  # fmt: skip
RANGES = {
    "start": (0.0, 1.0), "stop": (0.0, 1.0), "dilation": (0.0, 16.0), "stopband_strong": (-1.0, 1.0),
    "stopband_weak": (-1.0, 1.0), "amp_guidance": (1.0, 10.0), "coarse": (-1.0, 1.0),
}  # fmt: skip
PRESETS = load()


def test_positions_and_defaults() -> None:
    assert [(name, getattr(DEFAULTS, name)) for name in FIELDS] == POSITIONS
    assert [type(value) for value in DEFAULTS.values] == [type(value) for _, value in POSITIONS]
    assert {name: BY_NAME[name].argument_range for name in FIELDS if BY_NAME[name].argument_range} == RANGES
    assert CUSTOM_FIELDS == ("start", "stop", "dilation", "base", "stopband_strong", "stopband_weak", "rounding")
    assert parse([]) == Parsed(DEFAULTS)
    assert parse([value for _, value in POSITIONS]) == Parsed(DEFAULTS)


def test_by_position() -> None:
    parsed = parse(
        [
            1, " SDXL 2048x2048 ", "hires PASS", "mid", "False", 0, True, "0.1", 1, 2, [512, 768], 0, "0.5", 2.4, True,
            "Attention entropy", "true", 1, "exact", "0.7",
        ]
    )  # fmt: skip
    assert parsed.explicit == frozenset()
    assert parsed.args.values == (
        True, "SDXL 2048x2048", "Hires pass", "mid", False, False, True, 0.1, 1.0, 2.0, "512x768", 0.0, 0.5, 2.4, True,
        "attn-entropy", True, True, "exact", 0.7,
    )  # fmt: skip
    assert isinstance(parsed.args.stop, float)


@pytest.mark.parametrize("count", range(len(FIELDS) + 1))
def test_short_lists_end_in_defaults(count: int) -> None:
    values = [
        True, "Custom", "First pass", "mid", False, False, False, 0.0, 1.0, 3.0, "64x64", 0.5, 0.5, 2.4, True,
        "scalecrafter", True, True, "up", 0.5,
    ]  # fmt: skip
    assert len(values) == len(FIELDS)
    assert parse(values[:count]).args == DEFAULTS.replace(**dict(zip(FIELDS, values[:count], strict=False)))


def test_none_is_the_default() -> None:
    assert parse([None] * len(FIELDS)) == Parsed(DEFAULTS)
    assert parse([dict.fromkeys(FIELDS)]).args == DEFAULTS


def test_by_name() -> None:
    assert parse([{}]).args == DEFAULTS.replace(enabled=True)
    assert parse([{"enabled": False}]).args.enabled is False
    parsed = parse([{"preset": "Custom", "start": 0.5, "layers": "mid"}])
    assert parsed.args == DEFAULTS.replace(enabled=True, preset="Custom", start=0.5, layers="mid")
    assert parsed.explicit == {"start"}
    # A host fills the rest of the positions with its defaults.
    assert parse([{"preset": "Auto"}, *[value for _, value in POSITIONS[1:]]]) == parse([{"preset": "Auto"}])


def test_a_copy_with_values_is_as_if_given_by_name() -> None:
    parsed = parse([True]).with_values({"dilation": "3", "guidance": "false"})
    assert (parsed.args.dilation, parsed.args.guidance) == (3.0, False)
    assert parsed.explicit == {"dilation"}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ([7], "enabled"),
        (["yes"], "enabled"),
        ([[]], "enabled"),
        ([True, 5], "preset"),
        ([True, ["Auto"]], "preset"),
        ([True, "Auto", "Third"], "passes"),
        ([True, "Auto", 1], "passes"),
        ([True, "Auto", "Both", 3], "layers"),
        ([True, "Auto", "Both", "mid", 2], "guidance"),
        ([True, "Auto", "Both", "mid", True, "on"], "filter"),
        ([{"size_conditioning": "no"}], "size_conditioning"),
        ([{"start": 1.01}], "start"),
        ([{"stop": -0.01}], "stop"),
        ([{"start": True}], "start"),
        ([{"start": math.nan}], "start"),
        ([{"start": "nan"}], "start"),
        ([{"dilation": 17}], "dilation"),
        ([{"dilation": math.inf}], "dilation"),
        ([{"dilation": 10**400}], "dilation"),
        ([{"base": 513}], "base"),
        ([{"base": True}], "base"),
        pytest.param([{"base": 10**5000}], "base", id="digits"),
        ([{"base": "513"}], "base"),
        ([{"base": "512x"}], "base"),
        ([{"base": [512]}], "base"),
        ([{"base": "513x512"}], "base"),
        ([{"base": "56x64"}], "base"),
        ([{"base": "1x2x3"}], "base"),
        ([{"base": "９６x９６"}], "base"),
        ([{"base": "9" * 5000 + "x64"}], "base"),
        ([{"base": "-64x64"}], "base"),
        ([{"stopband_strong": -2}], "stopband_strong"),
        ([{"stopband_weak": {}}], "stopband_weak"),
        ([{"strength": 1}], "strength"),
        ([{"Start": 0.5}], "Start"),
        ([True] * (len(FIELDS) + 1), "args"),
        ([{"amp_guidance": 0.5}], "amp_guidance"),
        ([{"freeu": 3}], "freeu"),
        ([{"method": "fourier"}], "method"),
        ([{"method": 1}], "method"),
        ([{"low_memory": "little"}], "low_memory"),
        ([{"fast": 2}], "fast"),
        ([{"rounding": "sideways"}], "rounding"),
        ([{"rounding": 2}], "rounding"),
        ([{"coarse": 1.5}], "coarse"),
        ([{"coarse": "late"}], "coarse"),
    ],
)
def test_bad_values_name_the_field(values: list[Any], field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(values)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} = ")
    assert " is not allowed: " in str(caught.value)


def test_a_name_without_a_text() -> None:
    with pytest.raises(SettingsError, match="a value of type int = 1 is not allowed: unknown argument"):
        parse([{10**5000: 1}])


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("", None),
        (" Auto ", None),
        ("512x768", (512, 768)),
        (" 512 × 768 ", (512, 768)),
        ("4096X64", (4096, 64)),
        (" 512 ", (512, 512)),
    ],
)
def test_base(text: str, base: tuple[int, int] | None) -> None:
    assert BY_NAME["base"].to_setting(text) == base


def test_one_number_is_a_square_base() -> None:
    for base in (512, "512"):
        assert resolve(parse([{"preset": "Custom", "base": base}]), "sd15", 1024, 1024)[0].base == (512, 512)


@pytest.mark.parametrize(
    ("field", "bad"), [("base", "wide"), ("start", 7), ("dilation", "x"), ("rounding", "sideways"), ("stop", math.nan)]
)
def test_a_bad_value_out_of_sight_waits_for_custom(field: str, bad: Any) -> None:
    values: list[Any] = [value for _, value in POSITIONS]
    values[FIELDS.index(field)] = bad
    parsed = parse(values)
    assert resolve(parsed, "sd15", 1000, 1000) == (AUTO_SETTINGS, "Auto")
    for counts in (parsed.with_values({"preset": "Custom"}), parse([True, "custom", *values[2:]])):
        with pytest.raises(SettingsError) as caught:
            resolve(counts, "sd15", 1000, 1000)
        assert caught.value.field == field
    mended = parsed.with_values({"preset": "Custom", field: getattr(DEFAULTS, field)})
    assert resolve(mended, "sd15", 1000, 1000)[1] == "Custom"


# --- what they come to -----------------------------------------------------------------------------------------------


def test_auto_is_the_preset_for_the_size_or_nothing() -> None:
    assert resolve(parse([True]), "sdxl", 4096, 2048) == (PRESETS[10].settings, "Auto")
    assert resolve(parse([True]), "sdxl", 2048, 4096) == (PRESETS[10].settings, "Auto")
    assert resolve(parse([True]), "sdxl", 2048, 2056) == (AUTO_SETTINGS, "Auto")


@pytest.mark.parametrize(
    ("text", "method"),
    [
        (None, "fouriscale"), ("FouriScale", "fouriscale"), (" ScaleCrafter ", "scalecrafter"),
        ("attn-entropy", "attn-entropy"), ("attention ENTROPY", "attn-entropy"),
    ],
)  # fmt: skip
def test_methods_by_key_or_by_name(text: str | None, method: str) -> None:
    parsed = parse([{"method": text}])
    assert parsed.args.method == method
    assert resolve(parsed, "sdxl", 2048, 2056)[0] == AUTO_SETTINGS.replace(method=method)


@pytest.mark.parametrize("field", ["low_memory", "fast", "freeu"])
def test_switches_add_to_a_preset_and_take_nothing_away(field: str) -> None:
    mine = Preset("Mine", "sd15", (1024, 1024), Settings(start=0.1, **{field: True}))  # type: ignore[arg-type]
    assert resolve(parse([{"preset": "mine"}]), "sd15", 512, 512, [mine])[0] == mine.settings
    found, _ = resolve(parse([{"preset": "mine", field: True}]), "sd15", 512, 512, [mine])
    assert found == mine.settings
    plain = Preset("Mine", "sd15", (1024, 1024), Settings(start=0.1))
    assert resolve(parse([{"preset": "mine", field: True}]), "sd15", 512, 512, [plain])[0] == mine.settings


def test_method_of_a_preset_stays_unless_another_is_asked_for() -> None:
    mine = Preset("Mine", "sd15", (1024, 1024), Settings(method="scalecrafter"))
    assert resolve(parse([True, "mine"]), "sd15", 512, 512, [mine])[0].method == "scalecrafter"
    asked = parse([{"preset": "mine", "method": "attn-entropy"}])
    assert resolve(asked, "sd15", 512, 512, [mine])[0].method == "attn-entropy"


def test_preset_with_switches() -> None:
    mine = Preset("Mine", "sd15", (1024, 1024), Settings(start=0.1, layers="mid", guidance=False))
    assert resolve(parse([True, "mine"]), "sd15", 512, 512, [mine]) == (mine.settings, "Mine")
    found, _ = resolve(parse([True, "mine", "Both", "down+mid", True, False]), "sd15", 512, 512, [mine])
    assert found == Settings(start=0.1, layers="down+mid", guidance=False, filter=False)
    found, name = resolve(parse([{"preset": "mine", "stop": 0.9}]), "sd15", 512, 512, [mine])
    assert (found, name) == (mine.settings.replace(stop=0.9), "Mine")


def test_custom_uses_all_of_the_last_group() -> None:
    defaults = Settings(start=0.2, stop=0.6, rounding="auto")
    assert resolve(parse([True, "custom"]), "sd15", 512, 512) == (defaults, "Custom")
    values = [True, "CUSTOM", "Both", "mid", False, True, True, 0.1, 0.9, 0.5, "256x512", 0.25, 0]
    assert resolve(parse(values), "sd15", 512, 512)[0] == Settings(
        start=0.1, stop=0.9, dilation=1.0, base=(256, 512), layers="mid", guidance=False, stopband_strong=0.25,
        stopband_weak=0.0, rounding="auto",
    )  # fmt: skip


def test_rounding_is_of_the_last_group() -> None:
    mine = Preset("Mine", "sd15", (1024, 1024), Settings(start=0.1))
    assert resolve(parse([{"preset": "mine", "rounding": "exact"}]), "sd15", 512, 512, [mine])[0] == Settings(
        start=0.1, rounding="exact"
    )
    by_position = [None] * FIELDS.index("rounding") + ["exact"]
    by_position[:2] = [True, "mine"]
    assert resolve(parse(by_position), "sd15", 512, 512, [mine])[0] == mine.settings


def test_last_group_by_position_waits_for_custom() -> None:
    values = [True, "Auto", "Both", "published", True, True, True, 0.1, 0.9, 5, "64x64", 0.5, 0.5]
    assert resolve(parse(values), "sd15", 1000, 1000)[0] == AUTO_SETTINGS


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([True, "Turbo"], "preset = 'Turbo' is not allowed: one of Auto, "),
        ([True, "SD 2.1 1024x1024"], "preset = 'SD 2.1 1024x1024' is not allowed: a preset for sdxl, which this model"),
        ([{"start": 0.5, "stop": 0.4}], "start = 0.5 is not allowed: a number from 0 to stop (0.4)"),
    ],
)
def test_values_that_do_not_fit(values: list[Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(parse(values), "sdxl", 2048, 2048)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("name", ["Auto", "mine", "Custom"])
def test_a_coarse_start_counts_with_any_preset_and_is_the_presets_at_minus_one(name: str) -> None:
    mine = Preset("Mine", "sd15", (1024, 1024), Settings(coarse=0.6))
    of_preset = 0.6 if name == "mine" else None
    for value, wanted in ((-1, of_preset), (-0.5, of_preset), (None, of_preset), (0, 0.0), ("0.7", 0.7)):
        by_position = [True, name, *[None] * (FIELDS.index("coarse") - 2), value]
        for values in (by_position, [{"preset": name, "coarse": value}]):
            assert resolve(parse(values), "sd15", 1000, 1000, [mine])[0].coarse == wanted


@pytest.mark.parametrize(("value", "strong"), [(-1, None), (-0.25, None), (0, 0.0), (0.25, 0.25)])
def test_numbers_below_zero_are_the_familys_own(value: float, strong: float | None) -> None:
    assert resolve(parse([{"stopband_strong": value}]), "sd15", 512, 512)[0].stopband_strong == strong


# --- anything --------------------------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 16, 17, 2**31, 10**400, 0.0, 0.5, -0.0, 1.0, 1e-300, 1e308, math.nan, math.inf,
    -math.inf, "", " ", "Auto", "auto ", "Custom", "True", "false", "0.5", "-1", "nan", "inf", "1e400", "512x512",
    "64×64", "512", "x", "0x0", "64x-64", "９６x９６", "published", "mid,", ",", "*", "[", "\0", "\n", "'\"", "\ud800",
    "🏰", "a" * 5000, b"", (), [], {}, [512, 512], [64, None], (64, 64.0), {"enabled": True}, {1: 2}, {None: None},
    object, Ellipsis, 1j, 10**5000,
    [10**5000, 8], {"x\n[FouriScale] WARNING: forged\u202e\x1b[2J": 1}, {"y" * 10**5: "z" * 10**5},
]  # fmt: skip
GOOD: dict[str, list[Any]] = {
    "preset": ["Auto", "Custom", *(p.name for p in PRESETS)],
    "passes": list(PASSES),
    "layers": [*LAYER_SETS, "mid_block.*", "a.b, c.d"],
    "base": ["", "auto", "512x768", [64, 64]],
    "method": [*METHODS, "ScaleCrafter"],
    "rounding": [*ROUNDINGS, " UP "],
    **{name: [low, high, (low + high) / 2, str(high)] for name, (low, high) in RANGES.items()},
}


def value(random: Random, name: str) -> Any:
    """Mostly what the field takes, else anything."""
    if random.random() < 0.7:
        return random.choice(GOOD.get(name, [True, False, 1, "False"]))
    if random.random() < 0.5:
        return random.choice([random.uniform(-2, 20), random.randint(-3, 20), random.randbytes(4).decode("latin-1")])
    return random.choice(ODD)


def arguments(random: Random) -> list[Any]:
    """By position, by name, or neither."""
    kind = random.random()
    if kind < 0.4:
        return [value(random, name) for name in FIELDS][: random.randint(0, len(FIELDS))]
    if kind < 0.8:
        names: list[Any] = random.sample(FIELDS, random.randint(0, len(FIELDS)))
        if random.random() < 0.1:
            names.append(random.choice(["Start", "strength", "", 7, None, ("start",)]))
        return [{name: value(random, str(name)) for name in names}, *random.sample(ODD, random.randint(0, 3))]
    return [random.choice(ODD) for _ in range(random.randint(0, len(FIELDS) + 2))]


@given(seed=st.integers(0, 2**64))
@settings(max_examples=10_000, deadline=None)
def test_nothing_but_settings_errors(seed: int) -> None:
    random = Random(seed)
    values, family = arguments(random), random.choice(FAMILIES)
    asked = wants(values)
    try:
        parsed = parse(values)
        if parsed.args.enabled:
            assert asked
        chosen, name = resolve(parsed, family, *random.choice([(512, 512), (2048, 1024), (4096, 4096)]), PRESETS)
        assert isinstance(chosen, Settings)
        assert name in ("Auto", "Custom", *(p.name for p in PRESETS))
    except SettingsError as caught:
        error = caught
    else:
        error = None
    if error is not None:
        names = {str(key) for key in values[0]} if values and isinstance(values[0], dict) else set()
        assert error.field in {*FIELDS, "args", *names}
        assert " is not allowed: " in str(error)
        assert str(error).isprintable()
        assert len(str(error)) <= 2000
        assert error.allowed.strip()


@given(values=st.lists(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none()), max_size=15))
@settings(deadline=None)
def test_nothing_but_settings_errors_from_plain_values(values: list[Any]) -> None:
    wants(values)
    with contextlib.suppress(SettingsError):
        resolve(parse(values), "sdxl", 2048, 2048, PRESETS)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([], False),
        ([False], False),
        ([None], False),
        ([0], False),
        ([""], False),
        (["False"], False),
        (["false"], False),
        ([{"enabled": False}], False),
        ([{"enabled": None}], False),
        ([{"enabled": 0}], False),
        ([True], True),
        ([1], True),
        (["True"], True),
        ([{}], True),
        ([{"enabled": True}], True),
        ([{"preset": 7}], True),
        ([7], True),
        (["yes"], True),
        ([[]], True),
        ((True, "broken", 5), True),
    ],
)
def test_wants(values: Any, answer: bool) -> None:
    assert wants(values) is answer
