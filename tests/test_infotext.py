"""Settings as text in a picture: written, read by the WebUI's own expression, and understood again."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fouriscale import Plan, Settings, SettingsError, plan_family
from fouriscale.settings.infotext import CUSTOM, from_fields, infotext, quote, to_fields
from fouriscale.settings.presets import AUTO, AUTO_SETTINGS, find
from fouriscale.settings.settings import FAMILIES, LAYER_SETS, METHODS, ROUNDINGS

WEBUI_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def parsed(text: str) -> dict[str, str]:
    """The pairs of the last line, as the WebUI reads them."""
    pairs = {}
    for key, value in WEBUI_PAIR.findall(text.split("\n")[-1]):
        quoted = value.startswith('"') and value.endswith('"')
        pairs[key] = json.loads(value) if quoted else value
    return pairs


names = ["mid_block.*", "down_blocks.2.resnets.0.conv1", "up_blocks.?.upsamplers.0.conv", "*.conv2", "*"]
lists = st.builds(str.join, st.sampled_from([",", ", ", " , "]), st.lists(st.sampled_from(names), min_size=1))
shares = st.none() | st.floats(0.0, 1.0)
sides = st.integers(8, 512).map(lambda n: 8 * n)


@st.composite
def valid_settings(draw: st.DrawFn) -> Settings:
    start, stop = draw(shares), draw(shares)
    if start is not None and stop is not None:
        start, stop = sorted((start, stop))
    return Settings(
        family=draw(st.sampled_from(("auto", *FAMILIES))), start=start, stop=stop,
        base=draw(st.none() | st.tuples(sides, sides)), dilation=draw(st.none() | st.floats(1.0, 16.0)),
        layers=draw(st.sampled_from(LAYER_SETS) | lists), guidance=draw(st.booleans()), filter=draw(st.booleans()),
        stopband_strong=draw(shares), stopband_weak=draw(shares), amp_guidance=draw(st.floats(1.0, 10.0)),
        freeu=draw(st.booleans() | st.tuples(*[st.floats(0.0, 4.0)] * 4)), method=draw(st.sampled_from(list(METHODS))),
        fast=draw(st.booleans()), rounding=draw(st.sampled_from(ROUNDINGS)), coarse=draw(shares),
    )  # fmt: skip


def written(settings: Settings, preset: str = CUSTOM, own: Settings | None = None) -> dict[str, Any]:
    """The pairs of a run whose window came to 0.2 and 0.6 where the settings leave it open."""
    return to_fields(settings, preset, own, (0.2, 0.6))


def in_effect(settings: Settings) -> Settings:
    """With what a text says of the window, and without what it does not say."""
    stop = 0.6 if settings.stop is None else settings.stop
    start = min(0.2 if settings.start is None else settings.start, stop)
    return settings.replace(start=start, stop=stop, low_memory=False, coarse=settings.coarse or 0.0)


@given(valid_settings())
@example(Settings(start=1 / 3, stop=0.1 + 0.6))
@example(Settings(amp_guidance=2.4, freeu=(1.1, 1.2, 0.6, 1 / 3)))
@example(Settings(layers="mid_block.*, down_blocks.2.*", base=(64, 4096)))
def test_settings_survive_fields_and_infotext(settings: Settings) -> None:
    fields = written(settings)
    assert (fields["FouriScale"], fields["FouriScale preset"]) == (True, "Custom")
    assert from_fields(fields) == in_effect(settings)
    text = infotext("a cat, 5: sitting", "dog", {"Steps": 20, "Size": "64x64", **fields})
    assert parsed(text) == {"Steps": "20", "Size": "64x64", **{k: str(v) for k, v in fields.items()}}
    assert from_fields(parsed(text)) == in_effect(settings)


@given(valid_settings(), st.sampled_from([AUTO, "Reference", "Balanced", "Detail"]))
@example(Settings(), "Reference")
@example(Settings(freeu=True), "Reference")
@example(AUTO_SETTINGS.replace(guidance=False, fast=True, low_memory=True), AUTO)
@example(AUTO_SETTINGS.replace(start=0.1), AUTO)
def test_a_preset_is_named_where_its_name_says_all(settings: Settings, preset: str) -> None:
    """What the preset has on and the run had off, or other values than the preset's, cannot stand beside its name."""
    chosen = find(preset)
    own = chosen.settings if chosen else AUTO_SETTINGS
    fields = written(settings, preset, own)
    if fields.get("FouriScale preset", AUTO) == CUSTOM:
        assert from_fields(fields) == in_effect(settings)
    else:
        assert from_fields(fields) == settings.replace(low_memory=False, coarse=settings.coarse or 0.0)
        assert [getattr(settings, n) for n in ("start", "stop", "rounding")] == [own.start, own.stop, own.rounding]


def test_only_what_differs_is_written() -> None:
    assert written(AUTO_SETTINGS, AUTO, AUTO_SETTINGS) == {"FouriScale": True}
    assert written(AUTO_SETTINGS.replace(freeu=True), AUTO, AUTO_SETTINGS) == {
        "FouriScale": True, "FouriScale FreeU": True
    }  # fmt: skip
    settings = Settings(
        family="sdxl", start=0.2, stop=1, base=(512, 768), dilation=3, layers="mid", guidance=False, filter=False,
        stopband_strong=0.5, stopband_weak=0, amp_guidance=2.4, freeu=(1.2, 1.4, 0.9, 0),
    )  # fmt: skip
    assert {k: str(v) for k, v in written(settings, "SDXL 2048x2048", Settings(start=0.4, stop=0.7)).items()} == {
        "FouriScale": "True", "FouriScale preset": "Custom", "FouriScale family": "sdxl",
        "FouriScale start": "0.2", "FouriScale stop": "1.0", "FouriScale base": "512x768", "FouriScale dilation": "3.0",
        "FouriScale layers": "mid", "FouriScale guidance": "False", "FouriScale filter": "False",
        "FouriScale strong stop-band": "0.5", "FouriScale weak stop-band": "0.0", "FouriScale rounding": "up",
        "FouriScale amp guidance": "2.4", "FouriScale FreeU": "1.2x1.4x0.9x0.0",
    }  # fmt: skip


def plan_of(settings: Settings, family: str = "sd15", size: tuple[int, int] = (1024, 1024)) -> Plan:
    """A plan whose settings are those that it comes to."""
    return plan_family(family, *size, settings)


# Texts of the command before it wrote "Custom", and what they said: all values that were in effect.
OLD = [
    ("FouriScale: True, FouriScale preset: Auto", AUTO_SETTINGS),
    (
        "FouriScale: True, FouriScale preset: Auto, FouriScale start: 0.1, FouriScale stop: 0.9",
        AUTO_SETTINGS.replace(start=0.1, stop=0.9),
    ),
    (
        "FouriScale: True, FouriScale preset: SD 1.5 2048x1024, FouriScale start: 0.4, FouriScale stop: 0.8, "
        "FouriScale guidance: False",
        Settings(start=0.4, stop=0.8, guidance=False),
    ),
    (
        "FouriScale: True, FouriScale preset: Balanced, FouriScale start: 0.1, FouriScale stop: 0.4, "
        "FouriScale rounding: auto",
        Settings(start=0.1, stop=0.4, rounding="auto"),
    ),
    ("FouriScale: True, FouriScale start: 0.2, FouriScale stop: 0.6", Settings(start=0.2, stop=0.6)),
]


@pytest.mark.parametrize(("text", "settings"), OLD, ids=range(len(OLD)))
def test_old_pictures_keep_their_meaning(text: str, settings: Settings) -> None:
    assert from_fields(parsed(text)) == settings.replace(coarse=0.0)  # there was none in those days


def test_auto_means_the_preset_for_the_size() -> None:
    fields = {"FouriScale": "True", "FouriScale guidance": "False"}
    by_family = AUTO_SETTINGS.replace(guidance=False, coarse=0.0)
    assert from_fields(fields) == by_family
    assert from_fields(fields, "sd15", (1024, 1024)) == Settings(start=0.2, stop=0.6, guidance=False, coarse=0.0)
    assert from_fields(fields, "sd15", (1024, 1000)) == by_family


@pytest.mark.parametrize(
    ("family", "size"),
    [("sd15", (1280, 1280)), ("sd21", (2048, 1024)), ("sdxl", (4096, 2048)), ("sdxl", (2560, 2560))],
)
def test_auto_with_and_without_the_preset_for_the_size_is_one_plan(family: str, size: tuple[int, int]) -> None:
    """The command's Auto is the family's own; what pasting its text gives is the authors' preset for the size."""
    pasted = plan_of(from_fields({"FouriScale": "True"}, family, size), family, size)
    own = plan_of(AUTO_SETTINGS, family, size)
    assert dataclasses.replace(pasted, settings=own.settings) == own


@pytest.mark.parametrize("base", [(512, 768), (64, 4096)])
def test_a_base_that_the_webui_split_is_read(base: tuple[int, int]) -> None:
    """The hosts split a value that looks like a size into two pairs."""
    width, height = (str(side) for side in base)
    assert from_fields({"FouriScale base-1": width, "FouriScale base-2": height}).base == base


@pytest.mark.parametrize("half", [{"FouriScale base-1": "512"}, {"FouriScale base-1": "512", "FouriScale base-2": ""}])
def test_half_of_a_base_is_refused(half: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        from_fields(half)
    assert caught.value.field == "base"


def test_no_digit_is_lost() -> None:
    assert str(written(Settings(start=1 / 3))["FouriScale start"]) == "0.3333333333333333"


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain words", "plain words"),
        ('says "no"', 'says "no"'),
        ("a, b", '"a, b"'),
        ("a: b", '"a: b"'),
        ("a\nb", '"a\\nb"'),
        ('a "b", c\\d', '"a \\"b\\", c\\\\d"'),
        ("größe, 猫", '"größe, 猫"'),
    ],
)
def test_quoting(value: str, quoted: str) -> None:
    assert quote(value) == quoted


letters = st.characters(exclude_categories=["Cs"])


@given(st.text(letters), st.sampled_from(",:\n"), st.text(letters))
def test_quoted_values_are_read_back_by_the_webui(head: str, separator: str, tail: str) -> None:
    value = head + separator + tail
    line = infotext("", "", {"First": value, "Second": "x"}).split("\n", 1)[1]
    assert "\n" not in line
    assert parsed(line) == {"First": value, "Second": "x"}


def test_layout_of_the_text() -> None:
    fields = {"Steps": 20, "Seed": 7}
    assert infotext("a cat", "", fields) == "a cat\nSteps: 20, Seed: 7"
    assert infotext("a cat", "a dog", fields) == "a cat\nNegative prompt: a dog\nSteps: 20, Seed: 7"


def test_foreign_fields_are_ignored_and_forms_are_forgiven() -> None:
    fields = {
        "Steps": "20", "FouriScale": "True", "FouriScale preset": "Auto", "FouriScale colour": "blue", "start": "0.9",
        "FouriScale guidance": " false ", "FouriScale base": "512 × 768", "FouriScale stop": " 0.50 ",
    }  # fmt: skip
    assert from_fields(fields) == AUTO_SETTINGS.replace(guidance=False, base=(512, 768), stop=0.5, coarse=0.0)
    assert from_fields({}) == AUTO_SETTINGS


@pytest.mark.parametrize(
    ("key", "text", "field"),
    [
        ("start", "soon", "start"),
        ("start", "", "start"),
        ("start", "-0.1", "start"),
        ("stop", "1.01", "stop"),
        ("stop", "nan", "stop"),
        ("dilation", "inf", "dilation"),
        ("dilation", "0.5", "dilation"),
        ("family", "sd3", "family"),
        ("base", "512", "base"),
        ("base", "512x512x512", "base"),
        ("base", "512x", "base"),
        ("base", "²x512", "base"),
        ("base", "-512x512", "base"),
        ("base", "500x500", "base"),
        ("layers", " , ", "layers"),
        ("guidance", "yes", "guidance"),
        ("filter", "1", "filter"),
        ("strong stop-band", "half", "stopband_strong"),
        ("weak stop-band", "2", "stopband_weak"),
        ("amp guidance", "0.5", "amp_guidance"),
        ("FreeU", "1.2x1.4", "freeu"),
        ("FreeU", "1.2x1.4x0.9x5", "freeu"),
        ("method", "fourier", "method"),
        ("fast", "very", "fast"),
        ("rounding", "sideways", "rounding"),
        ("coarse", "late", "coarse"),
        ("coarse", "1.5", "coarse"),
        ("FreeU", "maybe", "freeu: b1, b2, s1, s2"),
    ],
)
def test_bad_values_name_the_field(key: str, text: str, field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_fields({f"FouriScale {key}": text})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} = ")


def test_fields_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^start = 0\.8 is not allowed: a number from 0 to stop \(0\.3\)"):
        from_fields({"FouriScale start": "0.8", "FouriScale stop": "0.3"})
