"""The gradio of each kind of WebUI, in the folders that `make test` prepares beside the others' packages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

NAMES = ("gradio3", "gradio4")
REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"


def pin(name: str) -> Requirement:
    """The line of the requirements that pins gradio itself."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return Requirement(next(line for line in lines if line.startswith("gradio==")))


def left_out(name: str, python: str = f"{sys.version_info.major}.{sys.version_info.minor}") -> bool:
    """Whether this gradio cannot be installed on `python`."""
    marker = pin(name).marker
    return marker is not None and not marker.evaluate({"python_version": python})


def folder(name: str) -> Path:
    """The folder to put first on the path. Skips where there cannot be one; where there should be, CI fails."""
    found = Path(sys.prefix) / name
    if left_out(name):
        pytest.skip(
            f"gradio{pin(name).specifier} cannot be installed on Python {sys.version_info[0]}.{sys.version_info[1]}"
        )
    if not (found / "gradio").is_dir():
        missing(str(found))
    return found


def missing(what: str) -> None:
    """Skip, or on CI fail, for want of `what`."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")
