"""Writes localizations/template.json.example: every English text of the accordion, for translators.

    python -m tools.localization_template

Copy the file to LANGUAGE.json in the same folder and fill in the right-hand sides; WebUIs find it by themselves.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

from fouriscale.settings.settings import ARGUMENTS

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "localizations" / "template.json.example"
# Arguments of gradio components that the page shows, by keyword and by position of the component's first argument.
SHOWN = ("label", "info", "placeholder")
FIRST = ("Button", "Accordion")


def texts(source: str) -> list[str]:
    """The texts that the components in `source` show, in order, once each."""
    found: dict[str, None] = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        shown = [k.value for k in node.keywords if k.arg in SHOWN]
        shown += node.args[:1] if name in FIRST else []
        for value in shown:
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                found[value.value] = None
    return list(found)


def controls() -> list[str]:
    """The texts of the controls, from their table."""
    return [text for field in ARGUMENTS for text in (field.label, field.info, field.placeholder) if text]


def template() -> str:
    """The file's content."""
    panel = (ROOT / "fouriscale" / "hosts" / "webui" / "panel.py").read_text(encoding="utf-8")
    shown = dict.fromkeys([*controls(), *texts(panel)], "")
    return json.dumps(shown, indent=4, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OUT.write_text(template(), encoding="utf-8")
