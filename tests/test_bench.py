"""The benchmark: the naive step against the engine, the arithmetic in closed form, the command."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

import fouriscale as fs
from fouriscale.lab import naive
from fouriscale.lab.bench import compare, growth, layouts, memory, modes, timing
from fouriscale.lab.bench.timing import Spread, StepKind
from unets import build, inputs, largest, run, traces

CHANNELS = {"sd15": (8, 8, 16, 16), "sdxl": (8, 8, 16)}


def call_of(family: str, height: int, width: int) -> layouts.Inputs:
    kwargs = inputs(family, 2, height, width)
    timestep = torch.tensor(kwargs["timestep"])
    return layouts.Inputs(kwargs["sample"], timestep, kwargs["encoder_hidden_states"], kwargs.get("added_cond_kwargs"))


def subject_of(family: str, width: int = 128, height: int = 160, **settings: Any) -> modes.Subject:
    chosen = fs.Settings(base=(64, 64), **settings)
    return modes.Subject(build(family), call_of(family, height // 8, width // 8), (width, height), chosen)


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_the_naive_step_is_the_engines_step(family: str) -> None:
    subject = subject_of(family)
    for kind in timing.step_kinds(subject.plan("fouriscale")):
        slow, ours = subject.step("reference", kind)(), subject.step("fouriscale", kind)()
        assert largest(slow - ours) < 1e-4
        assert kind.name == "plain" or largest(slow - subject.plain()) > 1e-2


def test_the_naive_steps_leave_no_trace() -> None:
    subject = subject_of("sdxl")
    before = traces(subject.unet)
    kind = timing.step_kinds(subject.plan("reference"))[0]
    subject.step("reference", kind)()
    assert traces(subject.unet) == before
    patched = naive.patched(subject.unet, family="sdxl", latent_h=20, base_px=(64, 64), d=2.0)
    with pytest.raises(KeyboardInterrupt), patched:  # noqa: PT012
        assert traces(subject.unet) != before
        raise KeyboardInterrupt
    assert traces(subject.unet) == before


def test_kinds_of_steps_of_published_runs() -> None:
    kinds = timing.step_kinds(fs.plan_family("sdxl", 4096, 4096))
    assert [(k.name, k.count, k.step) for k in kinds] == [
        ("4/3", 25, 12), ("3/2", 5, 27), ("2/2", 3, 31), ("2/1", 2, 33), ("plain", 15, 42),
    ]  # fmt: skip
    kinds = timing.step_kinds(fs.plan_family("sd15", 1024, 1024))
    assert [(k.name, k.count, k.step) for k in kinds] == [("2/2", 28, 13), ("2/2 alike", 2, 23), ("plain", 20, 39)]
    kinds = timing.step_kinds(fs.plan_family("sd15", 1024, 1024), naive=True)
    assert [(k.name, k.count) for k in kinds] == [("2/2", 30), ("plain", 20)]


def test_kinds_of_steps_in_fast_mode() -> None:
    """Weak rows in every second step until stop; the coarse grid until start, and not with SDXL's stop-band."""
    kinds = timing.step_kinds(fs.plan_family("sd15", 1024, 1024, fs.Settings(fast=True)))
    assert [(k.name, k.count, k.step) for k in kinds] == [
        ("2/2 coarse", 6, 4), ("2/2 coarse kept", 5, 5), ("2/2 kept", 8, 17), ("2/2", 9, 20), ("2/2 alike", 2, 23),
        ("plain", 20, 39),
    ]  # fmt: skip
    kinds = timing.step_kinds(fs.plan_family("sdxl", 2048, 2048, fs.Settings(fast=True)))
    assert [(k.name, k.count) for k in kinds] == [
        ("2/2", 14), ("2/2 kept", 14), ("2/1", 4), ("2/1 kept", 3), ("plain", 15),
    ]  # fmt: skip


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_kept_step_has_no_weak_rows_and_can_be_timed_again(family: str) -> None:
    subject = subject_of(family, 160, 160)
    seen: list[int] = []
    subject.unet.conv_out.register_forward_hook(lambda m, a, o: seen.append(len(o)))
    kind = next(k for k in timing.step_kinds(subject.plan("fast")) if k.kept)
    act = subject.step("fast", kind)
    first, second, third = act(), act(), act()
    assert seen == [3, 2, 2, 2]  # the step before, once
    assert torch.equal(first, second)
    assert torch.equal(first, third)
    # the inputs are the same in all steps here, so the difference is that of the step before alone
    assert largest(first - subject.step("fouriscale", kind)()) < (1e-5 if family == "sdxl" else 1.0)


def test_a_run_is_the_weighted_mean_of_its_steps() -> None:
    kinds = [StepKind(3, 2, 5, 20), StepKind(2, 2, 22, 5), StepKind(1, 1, 40, 25)]
    ratios = {"3/2": 1.5, "2/2": 1.4, "plain": 1.0}
    assert timing.run_ratio(kinds, ratios) == pytest.approx((20 * 1.5 + 5 * 1.4 + 25) / 50)
    assert timing.run_ratio(kinds, dict.fromkeys(ratios, 1.0)) == 1.0


def test_rounds_alternate_and_the_clock_counts_what_the_action_takes() -> None:
    now, done = [0.0], []

    def action(name: str, seconds: float) -> Any:
        def act() -> None:
            now[0] += seconds
            done.append(name)

        return act

    actions = {"a": action("a", 1.0), "b": action("b", 2.0), "c": action("c", 4.0)}
    times = timing.alternate(actions, 3, clock=lambda: now[0])
    assert done == [*"abc", *"cba", *"abc"]
    assert times == {"a": [1.0] * 3, "b": [2.0] * 3, "c": [4.0] * 3}


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0)


def test_ratios_are_taken_within_each_round() -> None:
    kinds = {"fouriscale": [StepKind(2, 2, 0, 30), StepKind(1, 1, 40, 20)]}
    times = {"plain": [1.0, 2.0, 4.0], "fouriscale 2/2": [1.5, 3.2, 5.6], "fouriscale plain": [1.0, 2.0, 4.0]}
    found = compare.ratios(kinds, times)
    step = found["step_ratio"]["fouriscale"][0]
    assert step == {"kind": "2/2", "count": 30, "ratio": {"median": 1.5, "min": 1.4, "max": 1.6}}
    assert found["run_spread"]["fouriscale"] == {"median": 1.3, "min": 1.24, "max": 1.36}
    assert found["run_ratio"] == {"fouriscale": 1.3}


def test_what_a_part_adds() -> None:
    times = {
        "plain": [2.0], "whole": [3.0], "without filter": [2.8], "without dilation": [3.0], "without guidance": [2.2],
    }  # fmt: skip
    shares = compare.part_shares(times, "whole")
    assert {part: values["median"] for part, values in shares.items()} == {
        "filter": 0.1,
        "dilation": 0.0,
        "guidance": 0.4,
    }


def test_peak_of_allocations() -> None:
    assert memory.highest([(1, 10), (5, -10), (2, 5), (6, 3)]) == 15
    assert memory.highest([(1, -10)]) == 0


def test_peak_bytes_counts_live_tensors(capfd: pytest.CaptureFixture[str]) -> None:
    def action() -> None:
        first = torch.ones(1 << 20)  # 4 MiB
        second = first + 1  # 8 MiB now
        del first, second
        torch.ones(1 << 19)  # 2 MiB

    held = torch.ones(1 << 21)
    assert memory.peak_bytes(action, torch.device("cpu")) == pytest.approx(8 << 20, rel=0.01)
    assert len(held) == 1 << 21
    assert capfd.readouterr().err == ""


def test_without_dilation_the_filters_stay() -> None:
    subject = subject_of("sd15")
    kind = timing.step_kinds(subject.plan("fouriscale"))[0]
    results = {part: subject.without(part, kind)() for part in modes.PARTS}
    whole = subject.step("fouriscale", kind)()
    for first, second in itertools.combinations([whole, subject.plain(), *results.values()], 2):
        assert largest(first - second) > 1e-3
    plan = subject.plan("fouriscale")
    undilated = run(build("sd15"), inputs("sd15", 2, 20, 16), plan, progress=(0, 50))
    assert largest(undilated - whole) < 1e-5


def test_each_part_is_left_out_alone() -> None:
    """Without filters the weak rows would be their rows, but their time is not the filters'."""
    subject = subject_of("sd15")
    rows: list[int] = []
    subject.unet.conv_out.register_forward_hook(lambda m, a, o: rows.append(len(o)))
    kind = timing.step_kinds(subject.plan("fouriscale"))[0]
    for part in ("filter", "dilation", "guidance"):
        subject.without(part, kind)()
    assert rows == [3, 3, 2]


@pytest.mark.parametrize("mode", ["low-memory", "fast", "scalecrafter", "attn-entropy"])
def test_other_modes_run(mode: str) -> None:
    subject = subject_of("sd15")
    kind = timing.step_kinds(subject.plan(mode))[0]
    found, ours = subject.step(mode, kind)(), subject.step("fouriscale", kind)()
    assert found.shape == ours.shape
    assert (largest(found - ours) < 1e-4) == (mode == "low-memory")


def test_a_comparison_counts_by_its_clock() -> None:
    """This clock gives the n-th action of a round n seconds, in both directions."""
    notes: list[str] = []
    durations = [*range(1, 10), *range(1, 10)]
    ticks = itertools.accumulate(seconds for duration in durations for seconds in (0, duration))
    subject = subject_of("sd15", start=0.6, stop=0.6)
    report = compare.compare(
        subject, ["fouriscale", "reference"], 2, clock=lambda: float(next(ticks)),
        note=lambda name, seconds: notes.append(name),
    )  # fmt: skip
    # plain is first and last of 9, 5 on average; FouriScale's steps are 2nd and 3rd, from the other end 8th and 7th
    full, plain = ((values["ratio"]["min"], values["ratio"]["max"]) for values in report["step_ratio"]["fouriscale"])
    assert (full, plain) == ((0.4, 1.6), (0.6, 1.4))
    assert report["plain_seconds"] == {"median": 5.0, "min": 5.0, "max": 5.0}
    assert report["run_ratio"]["fouriscale"] == pytest.approx(1.0)
    assert [step["kind"] for step in report["step_ratio"]["reference"]] == ["3/3", "plain"]
    assert report["predicted"] == {"fouriscale": round(subject.plan("fouriscale").cost, 4)}
    assert report["prediction_error"]["fouriscale"] == pytest.approx(report["predicted"]["fouriscale"] - 1, abs=1e-3)
    assert set(report["memory_ratio"]) == {"fouriscale", "reference"}
    assert all(1.0 < ratio < 2.0 for ratio in report["memory_ratio"].values())
    assert len(notes) == 3 * (1 + 2 + 2 + 3 + 1)


def test_growth() -> None:
    unet = build("sd15", cross_attention_dim=8)
    ticks = itertools.count()
    report = growth.grow(unet, 64, ["fouriscale", "reference"], 1, (1.0, 3.0), clock=lambda: float(next(ticks)))
    assert [(row["side"], row["area"]) for row in report["sizes"]] == [(64, 1.0), (192, 9.0)]
    assert report["sizes"][1]["seconds"] == {"plain": 1.0, "fouriscale": 1.0, "reference": 1.0}
    small, large = (row["memory_bytes"] for row in report["sizes"])
    assert small["plain"] == small["fouriscale"] < large["plain"] < min(large["fouriscale"], large["reference"])


def test_layouts_are_those_of_the_published_models() -> None:
    counts = {"sd15": 859_520_964, "sdxl": 2_567_463_684}  # the published checkpoints' parameters
    for name, layout in layouts.LAYOUTS.items():
        with torch.device("meta"):
            unet = UNet2DConditionModel(**layout)
        plan = fs.plan(unet, 2048, 2048)
        assert plan.family == name.partition("-")[0]
        assert len(plan.layers) == (21 if plan.family == "sdxl" else 34)
        if name in counts:
            assert sum(p.numel() for p in unet.parameters()) == counts[name]
    made = layouts.make_inputs(build("sdxl"), 128, 64)
    assert made.sample.shape == (2, 4, 8, 16)
    assert made.added is not None
    assert made.added["text_embeds"].shape == (2, 8)


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "attention_head_dim": 2, "cross_attention_dim": 8}
    monkeypatch.setitem(layouts.LAYOUTS, "sd15-slim", {**tiny, "sample_size": 8})


def bench(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    from fouriscale import cli

    monkeypatch.setattr("sys.argv", ["fouriscale", "bench", *args])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small(monkeypatch)
    target = tmp_path / "new" / "figures.json"
    args = ["--device", "cpu", "--json", str(target), "--rounds", "1"]
    assert (
        bench(
            monkeypatch,
            *args,
            "--width",
            "128",
            "--height",
            "128",
            "--cpu-time",
            "--modes",
            "fouriscale,reference,fast",
        )
        == 0
    )
    report = json.loads(target.read_text())
    assert set(report["run_ratio"]) == {"fouriscale", "reference", "fast"}
    assert report["plain_seconds"]["median"] > 0
    assert report["machine"]["clock"] == "cpu"
    assert set(report["parts"]) == {"filter", "dilation", "guidance"}
    assert target.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    shown = capsys.readouterr().out
    for mode, ratio in report["run_ratio"].items():
        assert f"{mode}" in shown
        assert f"{ratio:.2f} (" in shown
    for mode, error in report["prediction_error"].items():  # a tiny UNet's time is not that of its multiplications
        assert (f"estimate for {mode} is off by {error:+.0%}" in shown) == (abs(error) > 0.15)
    assert bench(monkeypatch, *args, "--grow", "--base", "64", "--plot", str(tmp_path / "growth.png")) == 0
    assert json.loads(target.read_text())["base"] == [64, 64]
    assert [row["area"] for row in json.loads(target.read_text())["sizes"]] == [1.0, 2.25, 4.0, 9.0, 16.0]
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--unet", "sd3"], "unet = 'sd3'"),
        (["--modes", "fouriscale,other"], "modes = 'other'"),
        (["--modes", ","], "modes"),
        (["--rounds", "0"], "rounds = 0"),
        (["--width", "100"], "width = 100"),
        (["--dtype", "int8"], "dtype = 'int8'"),
        (["--base", "100", "--grow"], "base = 100"),
        (["--width", "64", "--height", "64"], "64×64"),
    ],
)
def test_command_refuses(
    args: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(monkeypatch)
    assert bench(monkeypatch, "--device", "cpu", *args) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
