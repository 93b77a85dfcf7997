"""Writes the tables of arguments in docs/controls.md and docs/api.md from the one table of choices.

    python -m tools.doc_tables

Each stands between two comments; what is outside of them stays as it is.
"""

from __future__ import annotations

from pathlib import Path

from fouriscale.settings.fields import Field
from fouriscale.settings.infotext import KEYS
from fouriscale.settings.settings import ARGUMENTS

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- written by tools.doc_tables -->", "<!-- end -->"
LAYERS = ("first", "advanced", "expert")  # in the order of the page


def controls_table() -> str:
    """docs/controls.md: the controls in the order of the page, by their name on each face."""
    rows = ["| control | API | default | axis | infotext |", "|---|---|---|---|---|"]
    for field in sorted(ARGUMENTS, key=lambda f: (LAYERS.index(f.layer), f.place, f.position)):
        label = f"{field.label} (the switch)" if field.name == "enabled" else field.label
        key = f"`{KEYS[field.name]}`" if field.name in KEYS else "–"
        rows.append(f"| {label} | `{field.name}` | {_shown(field)} | {field.axis or '–'} | {key} |")
    return "\n".join(rows)


def api_table() -> str:
    """docs/api.md: the arguments in the order of positions."""
    rows = ["| # | name | default | meaning |", "|---|---|---|---|"]
    for field in ARGUMENTS:
        default = f"`{_json(field)}`" + (" (`true` in a mapping)" if field.name == "enabled" else "")
        rows.append(f"| {field.position} | `{field.name}` | {default} | {_meaning(field)} |")
    custom = ", ".join(str(field.position) for field in ARGUMENTS if field.custom)
    rows += [
        "",
        f"Arguments {custom} count with the preset `Custom`, or when given by name; where they do not count, a",
    ]
    rows += ["bad value by position is not looked at. The others count with any preset, where they differ from their"]
    return "\n".join([*rows, "default."])


def with_table(text: str, table: str) -> str:
    """A page with the table in its place."""
    head, rest = text.split(BEGIN, 1)
    _, tail = rest.split(END, 1)
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


def pages() -> dict[Path, str]:
    """The pages as they should be."""
    tables = {DOCS / "controls.md": controls_table(), DOCS / "api.md": api_table()}
    return {path: with_table(path.read_text(encoding="utf-8"), table) for path, table in tables.items()}


def _shown(field: Field) -> str:
    value = field.argument_default
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}".replace("-", "−") if isinstance(value, float) else value or "empty"


def _json(field: Field) -> str:
    value = field.argument_default
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else f'"{value}"'


def _meaning(field: Field) -> str:
    """Its help line, with what only the API can say besides."""
    text = field.help
    if field.choices:
        names = ", or canonical layer names, comma-separated, `*` allowed" if field.kind == "names" else ""
        text = ", ".join(f"`{choice}`" for choice in field.choices) + f"{names}. {text}"
    if field.unset not in (..., ""):
        text += f" {field.unset:g}: as preset, model and size want it.".replace(" -", " −")
    if field.kind == "size":
        text += " One number is a square; empty: the model's own."
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
