"""Runs script_module_checks.py with the gradio of each host, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hosts_gradio

CHECKS = Path(__file__).with_name("script_module_checks.py")


def run_checks(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(CHECKS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("name", hosts_gradio.NAMES)
def test_with_the_hosts_gradio(name: str) -> None:
    folder = hosts_gradio.folder(name)
    run_checks({**os.environ, "PYTHONPATH": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"})


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="no gradio beside these tests")
def test_with_the_gradio_that_is_here() -> None:
    run_checks(dict(os.environ))
