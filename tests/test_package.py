"""What is installed: one version, pins that there are for every Python promised, and a wheel that works by itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import fouriscale
import hosts_gradio

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
FILES = sorted((ROOT / "requirements").glob("*.txt"))


def requirements(file: Path, python: str) -> list[Requirement]:
    """The lines of `file`, and of those that it includes, that count on `python`."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found += requirements(file.parent / line[3:].strip(), python)
        elif line and not line.startswith("#"):
            requirement = Requirement(line)
            if not requirement.marker or requirement.marker.evaluate({"python_version": python}):
                found.append(requirement)
    return found


def test_the_version_is_the_changelogs_newest() -> None:
    newest = re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert fouriscale.__version__ == newest[1]


def test_the_pythons_promised_are_those_pinned_for() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # tomllib is not in Python 3.10
    assert f'requires-python = ">={PYTHONS[0]}"' in project
    assert tuple(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)) == PYTHONS


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_package_is_pinned_once(file: Path, python: str) -> None:
    found = requirements(file, python)
    names = [requirement.name.lower() for requirement in found]
    assert len(names) == len(set(names))
    assert [str(r) for r in found if [s.operator for s in r.specifier] != ["=="]] == []
    everywhere = {r.name.lower() for other in PYTHONS for r in requirements(file, other)}
    # What is missing on a Python is a whole file, whose tests say so, or is needed on later ones alone.
    assert not found or everywhere - set(names) <= {"audioop-lts"}


def test_what_is_pinned_for_this_python_is_installed() -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    pinned = requirements(ROOT / "requirements" / "run.txt", here)
    assert [(str(r), version(r.name)) for r in pinned if not r.specifier.contains(version(r.name))] == []


def test_only_one_gradio_is_left_out_and_only_on_3_13() -> None:
    left = [(name, v) for name in hosts_gradio.NAMES for v in PYTHONS if hosts_gradio.left_out(name, v)]
    assert left == [("gradio3", "3.13")]


def test_no_error_of_pip_is_hidden() -> None:
    for name in ("Makefile", "make.bat", ".ci/run"):
        installs = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "PIP" in line]
        assert [line for line in installs if "2>" in line or "|| true" in line or line.startswith("\t-")] == []


def test_a_run_names_what_it_leaves_out(tmp_path: Path) -> None:
    skipping = (
        "import pytest\n\n@pytest.mark.parametrize('x', [1, 2])\ndef test_x(x): pytest.skip('no such thing here')\n"
    )
    (tmp_path / "test_x.py").write_text(skipping, encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert "left out: 2 tests: no such thing here" in done.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, timeout=120)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.xdist_group("wheel")
def test_what_the_wheel_holds(wheel: Path) -> None:
    assert wheel.name == f"fouriscale-{fouriscale.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    presets = {f"fouriscale/_presets/{path.name}" for path in (ROOT / "presets").glob("*.yaml")}
    assert {"fouriscale/py.typed", "fouriscale/model/model_index.json", *presets} <= names
    assert [name for name in names if not name.startswith(("fouriscale/", "fouriscale-"))] == []


@pytest.mark.xdist_group("wheel")
def test_an_installed_wheel_has_its_presets(wheel: Path, tmp_path: Path) -> None:
    """Also beside a folder "presets" of another package."""
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, timeout=120)
    (target / "presets").mkdir()
    (target / "presets" / "other.yaml").write_text("presets: 5\n", encoding="utf-8")
    code = "import sys, fouriscale; print(fouriscale.__file__); sys.argv[1:] = ['presets']; "
    code += "from fouriscale.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"}
    run = [sys.executable, "-c", code]
    shown = subprocess.run(run, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True, timeout=120)
    where, table = shown.stdout.split("\n", 1)
    assert Path(where).is_relative_to(target)
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "presets").glob("*.yaml")]
    names = [entry["name"] for file in files for entry in file["presets"]]
    assert len(names) > 12
    assert [name for name in names if name not in table] == []
