"""The rules that the code is built by (docs/architecture.md), read off its source.

Which package may import which is checked by the contracts in pyproject.toml (`make lint`). Here: circles between single
files, and what else import-linter does not see.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import pytest

from fouriscale.settings import METHODS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fouriscale"
FLOORS = ("errors", "maths", "settings", "filters", "unet", "methods", "planning", "hooks", "vae")
ENGINE = tuple(f"fouriscale.{floor}" for floor in FLOORS)
LINES, LINES_OF_TESTS, LINES_OF_A_FUNCTION = 300, 650, 60  # the older test files are longer than the rest


@lru_cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def sources(*folders: str) -> list[Path]:
    """Python files below these folders of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sources("fouriscale")}


def imported(name: str, path: Path) -> set[str]:
    """Full names of what a module imports: anywhere in it, in functions and for types alone too."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{source}.{a.name}" if f"{source}.{a.name}" in MODULES else source for a in node.names}
    return found


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of two or more names that import each other, directly or through others."""
    reached: dict[str, set[str]] = {}
    for name in imports:
        seen: set[str] = set()
        ahead = list(imports[name])
        while ahead:
            following = ahead.pop()
            if following not in seen:
                seen.add(following)
                ahead += imports.get(following, set())
        reached[name] = seen
    groups = {tuple(sorted({m for m in reached[n] if n in reached.get(m, set())})) for n in imports if n in reached[n]}
    return sorted(list(group) for group in groups)


# --- law 1: floors ---------------------------------------------------------------------------------------------------


def test_no_files_import_each_other() -> None:
    assert circles({name: imported(name, path) & MODULES.keys() for name, path in MODULES.items()}) == []


def test_circles_are_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]


def test_imports_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import yaml\nif TYPE_CHECKING:\n    from .call import Call\ndef f():\n    from ..maths import sizes\n"
        "    from .. import errors, nothing\n", encoding="utf-8",
    )  # fmt: skip
    found = imported("fouriscale.hooks.x", path)
    assert found == {"yaml", "fouriscale.hooks.call", "fouriscale.maths.sizes", "fouriscale.errors", "fouriscale"}


def test_the_engine_needs_torch_numpy_and_yaml_alone() -> None:
    allowed = {"torch", "numpy", "yaml", "fouriscale", *sys.stdlib_module_names}
    engine = {name: path for name, path in MODULES.items() if name.startswith(ENGINE)}
    found = {(name, other.split(".")[0]) for name, path in engine.items() for other in imported(name, path)}
    assert {pair for pair in found if pair[1] not in allowed} == set()
    assert {pair[1] for pair in found} >= {"torch", "numpy", "yaml"}


# --- law 2: a method is an object ------------------------------------------------------------------------------------


def comparisons(tree: ast.AST) -> Iterator[str]:
    """Where something called `method` is compared with the name of a method, which that method should be asked instead.

    The ways of making pictures that an evaluation compares have names of their own.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = {c.value for side in sides for c in ast.walk(side) if isinstance(c, ast.Constant)}
            asked = [s for s in sides if "method" in (getattr(s, "id", None), getattr(s, "attr", None))]
            if asked and texts & METHODS.keys():
                yield ast.unparse(node)


def test_nobody_asks_which_method_it_is() -> None:
    own = (PACKAGE / "methods", PACKAGE / "settings")
    files = [path for path in sources("fouriscale", "scripts", "tools") if not path.is_relative_to(own[0])]
    files = [path for path in files if not path.is_relative_to(own[1])]
    assert {str(path.relative_to(ROOT)): found for path in files if (found := [*comparisons(parsed(path))])} == {}


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("settings.method == 'fouriscale'", True),
        ("method in ('plain', 'attn-entropy')", True),
        ("'scalecrafter' != plan.settings.method", True),
        ("method == 'plain'", False),
        ("call.method is plan.method", False),
    ],
)
def test_comparisons_are_seen(line: str, seen: bool) -> None:
    assert bool([*comparisons(ast.parse(line))]) is seen


# --- size and words --------------------------------------------------------------------------------------------------


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return (node.end_lineno or first) - first + 1


def test_no_file_is_long() -> None:
    limits = dict.fromkeys(sources("fouriscale", "scripts", "tools"), LINES)
    limits |= dict.fromkeys(sources("tests"), LINES_OF_TESTS)
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in limits}
    assert {str(path.relative_to(ROOT)): n for path, n in counts.items() if n > limits[path]} == {}


def test_no_function_is_long() -> None:
    found = [
        (f"{path.relative_to(ROOT)}: {node.name}", lines_of(node))
        for path in sources("fouriscale", "scripts", "tools", "tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [(name, lines) for name, lines in found if lines > LINES_OF_A_FUNCTION] == []


def undocumented(tree: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Public functions, classes and their methods without a docstring; a setter has its property's."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        setter = any(isinstance(d, ast.Attribute) and d.attr == "setter" for d in node.decorator_list)
        if not setter and ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in undocumented(node))


def test_what_is_public_is_documented() -> None:
    files = sources("fouriscale", "scripts")
    assert [str(path.relative_to(ROOT)) for path in files if ast.get_docstring(parsed(path)) is None] == []
    assert {str(path.relative_to(ROOT)): names for path in files if (names := [*undocumented(parsed(path))])} == {}
