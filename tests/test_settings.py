"""Settings: what is refused and how the message reads, and the way to plain values and back."""

from __future__ import annotations

import dataclasses
import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fouriscale import FouriScaleError, Settings, SettingsError, plan_family
from fouriscale.errors import LONGEST_FIELD, one_line
from fouriscale.settings.settings import FAMILIES, METHODS, ROUNDINGS

FIELDS = [field.name for field in dataclasses.fields(Settings)]
FRACTION = "a number from 0 to 1, or empty for the default"
AMPLIFIED = "a number from 1 to 10, or empty for the default"
FREEU = "true, false, or four numbers from 0 to 4: b1, b2, s1, s2"
DILATION = "a number from 1 to 16, or empty for the default"
BASE = "two multiples of 8 from 64 to 4096: width and height in pixels"
LAYERS = "published, down+mid, mid or a list of canonical layer names"
METHOD = "one of fouriscale, scalecrafter, attn-entropy"
FAMILY = "one of auto, sd15, sd21, sdxl"

REFUSED = [
    ("family", "sd3", FAMILY),
    ("family", None, FAMILY),
    ("family", ["sd15"], FAMILY),
    ("start", -0.01, FRACTION),
    ("start", "0.5", FRACTION),
    ("start", True, FRACTION),
    ("stop", 1.01, FRACTION),
    ("stop", math.nan, FRACTION),
    ("stop", 10**400, FRACTION),
    ("stopband_strong", math.inf, FRACTION),
    ("stopband_weak", -(10**400), FRACTION),
    ("dilation", 0.99, DILATION),
    ("dilation", 17, DILATION),
    ("dilation", 2j, DILATION),
    ("amp_guidance", 0.9, AMPLIFIED),
    ("amp_guidance", "2.4", AMPLIFIED),
    ("freeu", None, FREEU),
    ("freeu", (1.1, 1.2, 0.6), FREEU),
    ("freeu", (1.1, 1.2, 0.6, 5.0), FREEU),
    ("freeu", (1.1, 1.2, 0.6, math.nan), FREEU),
    ("freeu", (1.1, 1.2, 0.6, True), FREEU),
    ("freeu", (1.1, 1.2, 0.6, "0.4"), FREEU),
    ("freeu", {1.1: 0, 1.2: 0, 0.6: 0, 0.4: 0}, FREEU),
    ("guidance", 1, "true or false"),
    ("guidance", None, "true or false"),
    ("filter", "yes", "true or false"),
    ("low_memory", 1, "true or false"),
    ("fast", None, "true or false"),
    ("coarse", 1.01, FRACTION),
    ("method", "fourier", METHOD),
    ("rounding", "sideways", "one of up, exact, down, auto"),
    ("method", None, METHOD),
    ("method", ["fouriscale"], METHOD),
    ("layers", "", LAYERS),
    ("layers", " , ,", LAYERS),
    ("layers", "\n,\t", LAYERS),
    ("layers", ["mid"], LAYERS),
    ("base", 512, BASE),
    ("base", (512,), BASE),
    ("base", (512, 512, 512), BASE),
    ("base", (512, 500), BASE),
    ("base", (56, 512), BASE),
    ("base", (512, 4104), BASE),
    ("base", (512.5, 512), BASE),
    ("base", (math.inf, 512), BASE),
    ("base", (math.nan, 512), BASE),
    ("base", (Decimal("Infinity"), 512), BASE),
    ("base", ("512", "512"), BASE),
    ("base", "88", BASE),
    ("base", b"@@", BASE),  # two bytes of value 64
    ("base", {512: 1, 768: 2}, BASE),
    ("base", (None, None), BASE),
]


@pytest.mark.parametrize(
    ("field", "value", "allowed"), REFUSED, ids=[f"{case[0]}-{i}" for i, case in enumerate(REFUSED)]
)
def test_messages_name_field_value_and_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**{field: value})
    if not (isinstance(value, int) and abs(value) > 10**60):  # longer ones are cut: tests/test_errors.py
        assert str(caught.value) == f"{field} = {value!r} is not allowed: {allowed}"
    assert caught.value.field == field
    assert caught.value.value is value
    assert caught.value.allowed == allowed
    assert isinstance(caught.value, FouriScaleError)
    assert isinstance(caught.value, ValueError)


def test_start_after_stop() -> None:
    with pytest.raises(SettingsError, match=r"^start = 0\.7 is not allowed: a number from 0 to stop \(0\.6\)$"):
        Settings(start=0.7, stop=0.6)
    assert Settings(start=0.6, stop=0.6).start == 0.6


def test_unknown_fields() -> None:
    known = ", ".join(sorted(FIELDS))
    with pytest.raises(SettingsError) as caught:
        Settings.from_dict({"dilatation": 2})
    assert str(caught.value) == f"dilatation = 2 is not allowed: unknown field; known are {known}"
    with pytest.raises(SettingsError, match=r"^7 = 1 is not allowed: unknown field"):
        Settings.from_dict({7: 1})  # type: ignore[dict-item]
    with pytest.raises(SettingsError, match=r"^strength = 1 is not allowed: unknown field"):
        Settings().replace(strength=1)


def test_normalised_values() -> None:
    chosen = Settings(start=0, stop=1, dilation=2, base=[1024.0, 768])  # type: ignore[arg-type]
    assert (chosen.start, chosen.stop, chosen.dilation, chosen.base) == (0.0, 1.0, 2.0, (1024, 768))
    assert [type(value) for value in (chosen.start, chosen.stop, chosen.dilation)] == [float] * 3
    assert [type(side) for side in chosen.base or ()] == [int, int]


def test_frozen_and_hashable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().dilation = 2.0  # type: ignore[misc]
    assert len({Settings(), Settings(), Settings(dilation=2), Settings(dilation=2.0)}) == 2


def test_replace_and_non_defaults() -> None:
    assert Settings().non_defaults() == {}
    changed = Settings().replace(dilation=3, base=(512, 768))
    assert changed.non_defaults() == {"dilation": 3.0, "base": [512, 768]}
    assert changed.replace(dilation=None, base=None) == Settings()
    with pytest.raises(SettingsError, match=r"^dilation = 0 is not allowed"):
        changed.replace(dilation=0)


sides = st.integers(8, 512).map(lambda eighths: 8 * eighths)
fractions = st.none() | st.floats(0.0, 1.0)
valid = st.builds(
    lambda window, **values: Settings(start=window[0], stop=window[1], **values),
    window=st.tuples(fractions, fractions).filter(lambda w: None in w or w[0] <= w[1]),
    family=st.sampled_from(("auto", *FAMILIES)),
    base=st.none() | st.tuples(sides, sides),
    dilation=st.none() | st.floats(1.0, 16.0),
    layers=st.sampled_from(["published", "down+mid", "mid", "mid_block.*", "up_blocks.0.*, mid_block.resnets.0.conv1"]),
    guidance=st.booleans(),
    filter=st.booleans(),
    stopband_strong=fractions,
    stopband_weak=fractions,
    amp_guidance=st.floats(1.0, 10.0),
    freeu=st.booleans() | st.tuples(*[st.floats(0.0, 4.0)] * 4),
    method=st.sampled_from(list(METHODS)),
    low_memory=st.booleans(),
    fast=st.booleans(),
    rounding=st.sampled_from(ROUNDINGS),
    coarse=fractions,
)


@given(chosen=valid)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_round_trip_through_plain_values(chosen: Settings) -> None:
    plain = chosen.to_dict()
    assert sorted(plain) == sorted(FIELDS)
    assert Settings.from_dict(plain) == chosen
    assert Settings.from_dict(json.loads(json.dumps(plain))) == chosen
    assert Settings.from_dict(chosen.non_defaults()) == chosen
    assert chosen.replace() == chosen


@given(chosen=valid, size=st.tuples(sides, sides))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_valid_settings_always_give_a_plan(chosen: Settings, size: tuple[int, int]) -> None:
    family = "sdxl" if chosen.family == "sdxl" else "sd15"
    plan = plan_family(family, *size, chosen)
    assert 0.0 <= plan.start <= plan.stop <= 1.0
    assert plan.dilation >= 1.0
    assert plan.active == (plan.reason is None)
    if plan.active:
        assert plan.dilation > 1.0
        assert bool(plan.layers) == (chosen.method != "attn-entropy")
        at_first = plan.method.dilation_at(0.0)  # of attention entropy, which dilates nothing, 1
        assert at_first is not None
        assert (at_first > 1.0) == bool(plan.layers)
    if not plan.stages:
        assert plan.cost > 1.0 - 1e-9


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**308, 10**320)
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.decimals(allow_nan=False)
    | st.sampled_from(["published", "mid", "auto", "sdxl", " ", ",", "\t", "\x00"])
)
anything = (
    scalars
    | st.lists(scalars, max_size=3)
    | st.tuples(scalars, scalars)
    | st.dictionaries(scalars, scalars, max_size=2)
)


def outcome(values: dict[str, Any]) -> Settings | SettingsError:
    try:
        return Settings.from_dict(values)
    except SettingsError as error:
        return error


@given(values=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), anything, max_size=4))
@settings(max_examples=1500, deadline=None, derandomize=True)
def test_nothing_but_settings_errors(values: dict[str, Any]) -> None:
    chosen = outcome(values)
    if isinstance(chosen, SettingsError):
        assert chosen.field in values
        assert str(chosen).startswith(f"{one_line(chosen.field, LONGEST_FIELD)} = ")
    else:
        assert Settings.from_dict(chosen.to_dict()) == chosen


@given(field=st.sampled_from(FIELDS), value=anything)
@settings(max_examples=1500, deadline=None, derandomize=True)
def test_each_field_refuses_or_keeps_its_value(field: str, value: Any) -> None:
    chosen = outcome({field: value})
    if isinstance(chosen, SettingsError):
        assert chosen.field == field
        assert chosen.value is value
    else:
        kept = getattr(chosen, field)
        if value is None:
            assert kept == getattr(Settings(), field)
        else:
            assert kept == (tuple(value) if isinstance(value, list) else value)
