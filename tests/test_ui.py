"""`fouriscale ui` by its own one command."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from fouriscale.cli import main

ROOT = Path(__file__).resolve().parents[1]


def test_without_gradio_it_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "fouriscale.hosts.webui.page", raising=False)
    monkeypatch.setattr(sys, "argv", ["fouriscale", "ui"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: the page needs gradio: make ui")


def test_that_command_installs_gradio_and_starts_the_page() -> None:
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^ui: \.venv/ui\.stamp\n\t\$\(BIN\)/fouriscale ui", rules, re.MULTILINE)
    assert re.search(
        r"^\.venv/ui\.stamp: \.venv/run\.stamp .*\n\t\$\(PIP\) -r requirements/ui\.txt", rules, re.MULTILINE
    )
    assert "gradio==" in (ROOT / "requirements" / "ui.txt").read_text(encoding="utf-8")
    assert "    make ui\n" in (ROOT / "README.md").read_text(encoding="utf-8")
