"""README and docs: links and files that they name are there, commands and options exist, tables are the code's."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest
import typer

from fouriscale import Settings, plan_family
from fouriscale.cli.app import app
from fouriscale.hosts.webui.args import FIELDS
from fouriscale.maths.sizes import px
from fouriscale.settings.presets import AUTO_SETTINGS, choose
from tools import doc_figures, doc_tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *(p for p in [ROOT / "CONTRIBUTING.md"] if p.exists()),
    *sorted((ROOT / "docs").glob("*.md")),
]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PAGES}
# Options of other programs that the pages may name.
FOREIGN = {
    "--api",
    "--from",
    "--api-auth",
    "--gradio-auth",
    "--nowebui",
    "--url",
    "--slow",
    "--help",
    "--multi_gpu",
    "--num_processes",
    "--nproc_per_node",
    "--cpu",
    "--keep",
}
# Folders that are there in a checkout; names below them in backticks must exist.
FOLDERS = ("fouriscale", "tests", "tools", "docs", "presets", "scripts", "javascript", "requirements", "localizations")

page = pytest.mark.parametrize("name", TEXTS)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def broken(text: str, folder: Path) -> list[str]:
    """The relative links of a page in `folder` that lead nowhere."""
    found = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = folder / path
        there = target.exists() if path else True
        if there and anchor:
            there = anchor in anchors(target.read_text(encoding="utf-8") if path else text)
        if not there:
            found.append(link)
    return found


@page
def test_links(name: str) -> None:
    assert broken(TEXTS[name], (ROOT / name).parent) == []


def test_broken_links_are_seen(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A title, here\n", encoding="utf-8")
    text = (
        "[a](other.md) [b](other.md#a-title-here) [c](other.md#none) [d](no.md) ![e](no.png) [f](https://x.y/z) [g](#i)"
    )
    assert broken(text, tmp_path) == ["other.md#none", "no.md", "no.png", "#i"]


@page
def test_every_page_can_be_reached(name: str) -> None:
    others = [text for other, text in TEXTS.items() if other != name]
    first = ("README.md", "CONTRIBUTING.md")  # shown by the site itself
    assert name in first or any(re.search(rf"[(/]{re.escape(Path(name).name)}[)#]", text) for text in others)


def spans(text: str) -> Iterator[str]:
    """What stands in backticks."""
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@page
def test_files_in_backticks(name: str) -> None:
    named = [s.rstrip("/") for s in spans(TEXTS[name]) if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./*-]*", s)]
    assert [s for s in named if not list(ROOT.glob(s))] == []


def commands() -> dict[str, set[str]]:
    """Options of each command."""
    group: Any = typer.main.get_command(app)
    return {
        name: {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in group.commands.items()
    }


KNOWN = commands()
CALL = re.compile(r"(?<!import)[\s`/]fouriscale (?P<rest>[a-z][^`\n|]*)")


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Command and options of every ``fouriscale …`` that is written as code."""
    code = [*spans(text), *re.findall(r"^    .*$", text, re.MULTILINE)]
    code += [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for line in code:
        for match in CALL.finditer(" " + line):
            words = match["rest"].split()
            yield words[0], [word.partition("=")[0] for word in words if word.startswith("--")]


@page
def test_commands_and_their_options(name: str) -> None:
    wrong = [(c, o) for c, o in calls(TEXTS[name]) if c not in KNOWN or not set(o) <= KNOWN[c] | {"--help"}]
    assert wrong == []


def test_wrong_commands_are_seen() -> None:
    text = "`fouriscale generate --prompt x --width 8`\n\n    .venv/bin/fouriscale bake --hot\n\n"
    text += "```\nfouriscale ui --port 1\nimport fouriscale as fs\n```"
    assert sorted(calls(text)) == [("bake", ["--hot"]), ("generate", ["--prompt", "--width"]), ("ui", ["--port"])]


@page
def test_options_by_themselves(name: str) -> None:
    named = {o for s in spans(TEXTS[name]) if "python" not in s for o in re.findall(r"(?<![\w-])--[a-z][\w-]+", s)}
    assert named - FOREIGN - set().union(*KNOWN.values()) == set()


@page
def test_modules_that_are_run(name: str) -> None:
    named = re.findall(r"python -m ((?:tools|fouriscale)[\w.]*)", TEXTS[name])
    assert [module for module in named if importlib.util.find_spec(module) is None] == []


def table(text: str, first: str) -> list[list[str]]:
    """Cells of the rows of the table whose header begins with `first`."""
    body = text.split(f"\n| {first} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in body]


def test_tables_of_arguments_are_written_from_the_table() -> None:
    pages = doc_tables.pages()
    assert sorted(path.name for path in pages) == ["api.md", "controls.md"]
    for path, wanted in pages.items():
        assert path.read_text(encoding="utf-8") == wanted, "run python -m tools.doc_tables"


def test_api_page_has_every_argument_in_order() -> None:
    rows = table(TEXTS["docs/api.md"], "#")
    assert [(int(row[0]), row[1]) for row in rows] == [(i, f"`{field}`") for i, field in enumerate(FIELDS)]
    defaults = {row[1].strip("`"): row[2] for row in rows}
    assert [defaults[name] for name in ("preset", "guidance", "start", "stopband_weak", "base")] == [
        '`"Auto"`', "`true`", "`0.2`", "`-1`", '`""`'
    ]  # fmt: skip


def test_controls_page_is_the_panel() -> None:
    rows = table(TEXTS["docs/controls.md"], "control")
    assert sorted(row[1] for row in rows) == sorted(f"`{field}`" for field in FIELDS)
    by_name = {row[1].strip("`"): row for row in rows}
    assert by_name["low_memory"][2:] == ["off", "Low memory", "–"]
    assert by_name["size_conditioning"][2:] == ["on", "–", "`FouriScale size conditioning`"]
    assert by_name["stopband_weak"][2:] == ["−1", "Weak stop-band", "`FouriScale weak stop-band`"]


def test_choosing_page_has_the_plans_figures() -> None:
    rows = table(TEXTS["docs/choosing.md"], "model")
    family = ""
    for model, size, base, dilation, window, time in rows:
        family = {"SD 1.5": "sd15", "SDXL": "sdxl", "": family}[model]
        width, height = map(int, size.split("×"))
        preset = choose(family, width, height)
        plan = plan_family(family, width, height, preset.settings if preset else AUTO_SETTINGS)
        assert px(plan.base) == base
        if plan.active:
            assert (dilation, window) == (f"{plan.dilation:g}", f"{plan.start:g}, {plan.stop:g}")
            assert time == f"{plan.cost:.2f} ×"
        else:
            assert (dilation, window, time) == ("none", "", "plain")
    assert len(rows) == 13


def test_figures_are_small_and_up_to_date(tmp_path: Path) -> None:
    made = doc_figures.write(tmp_path)
    assert [path.name for path in made] == [f"controls-{name}.svg" for name in ("steps", "filters", "layers", "rows")]
    for path in made:
        assert path.stat().st_size < 60_000
        committed = doc_figures.OUT / path.name
        assert written(path) == written(committed), "run python -m tools.doc_figures"
        text = committed.read_text(encoding="utf-8")
        if f"Matplotlib v{matplotlib.__version__}," in text:  # another version draws the same in other numbers
            assert path.read_text(encoding="utf-8") == text, "run python -m tools.doc_figures"


def written(path: Path) -> list[str]:
    """The texts of a picture, which do not depend on the version of the library that drew it."""
    return [e.text or "" for e in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(("family", "convs", "hooked"), [("sd15", 50, (34, 13, 4)), ("sdxl", 38, (21, 8, 4))])
def test_figure_of_layers(family: str, convs: int, hooked: tuple[int, ...]) -> None:
    rows = doc_figures.layer_rows(family)
    assert {len(row) for row in rows.values()} == {convs}
    assert tuple(sum(row) for row in rows.values()) == hooked


@pytest.mark.parametrize(
    ("settings", "working"),
    [
        (Settings(), [["uncond", "cond", "weak"]]),
        (Settings(low_memory=True), [["cond", "weak"], ["uncond"]]),
        (Settings(guidance=False), [["uncond", "cond"]]),
        (Settings(method="scalecrafter"), [["uncond", "cond"]]),
    ],
)
def test_figure_of_rows(settings: Settings, working: list[list[str]]) -> None:
    steps = doc_figures.steps_rows(plan_family("sd15", 1024, 1024, settings))
    plain = [["uncond", "cond"]]
    # in steps 23 and 29 the weak filters do what the strong ones do
    assert steps == [plain if i in (23, 29) or i >= 30 else working for i in range(50)]


def test_figure_of_rows_in_fast_mode() -> None:
    steps = doc_figures.steps_rows(plan_family("sd15", 1024, 1024, Settings(fast=True)))
    assert [i for i, calls in enumerate(steps) if calls == [["uncond", "cond", "weak"]]] == list(range(0, 29, 2))
