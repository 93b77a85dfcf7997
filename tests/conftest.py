"""What every test shares: one torch thread, which tests wait for ``--slow``, and what a run has left out."""

from __future__ import annotations

import os

# Before torch is imported, and for every process that a test starts: the suite is shared out by processes, and the
# UNets are so small that a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take more than ten seconds each")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than ten seconds; skipped without --slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs --slow"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was left out: a line for each reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"left out: {count} test{'s'[: count != 1]}: {reason}")


class SavedModels(dict[str, Path]):
    """The folder of each family's tiny pipeline, written when it is first asked for."""

    def __init__(self, root: Path):
        super().__init__()
        self._root = root

    def __missing__(self, family: str) -> Path:
        import tiny_pipelines  # takes seconds, which most tests need not wait for

        return self.setdefault(family, tiny_pipelines.save(family, self._root / family))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> SavedModels:
    """Tiny pipelines on disk, for reading only: whoever changes one copies it first."""
    return SavedModels(tmp_path_factory.mktemp("models"))
