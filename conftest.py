"""Settings of every test: one thread, no clock in hypothesis, slow tests last, measured notebooks in the summary."""

import os

for _library in ("OMP", "MKL", "OPENBLAS"):  # before torch is imported, and for every kernel that a test starts
    os.environ[f"{_library}_NUM_THREADS"] = "1"
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
os.environ["NASLAB_PROGRESS"] = "0"  # a progress bar is no output to compare

import pytest
from hypothesis import settings
from run_notebooks import Outcome, table

settings.register_profile("naslab", deadline=None, derandomize=True, database=None)
settings.load_profile("naslab")

MEASURED = pytest.StashKey[list[Outcome]]()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> list[Outcome]:
    """Append an `Outcome` to see it in the summary's table."""
    return request.config.stash.setdefault(MEASURED, [])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)  # stable: files stay in order


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if outcomes := config.stash.get(MEASURED, []):
        terminalreporter.section("notebooks by papermill")
        terminalreporter.write_line(table(outcomes))
