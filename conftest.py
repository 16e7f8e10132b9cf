"""Settings of every test: the threads, no clock in hypothesis, slow ones last, measured notebooks in the summary."""

import os
import signal
import sys

THREADS = os.environ.get("NASLAB_THREADS", "1")  # `make processors` asks for four
for _library in ("OMP", "MKL", "OPENBLAS"):  # before torch is imported, and for every kernel that a test starts
    os.environ[f"{_library}_NUM_THREADS"] = THREADS
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
os.environ["NASLAB_PROGRESS"] = "0"  # a progress bar is no output to compare
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background; tests interrupt themselves

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

import pytest
from hypothesis import settings
from run_notebooks import Outcome, table

pytest_plugins = ["executed", "words"]  # compares what papermill has executed, and the words of what nbval leaves out

settings.register_profile("naslab", deadline=None, derandomize=True, database=None)
settings.load_profile("naslab")


@pytest.fixture(autouse=True)
def threads() -> None:
    """A test has its threads whatever an earlier one did: `runs.start` leaves one."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(THREADS))


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[Outcome], None]:
    """Takes an `Outcome` and shows it in the summary's table, in whichever process the test runs."""
    return lambda outcome: record_property("measured", asdict(outcome))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests last, so that what is wrong shows soon; with several workers the files with most slow tests first.

    Workers take a file at a time (`make test`: --dist loadscope), so that a notebook keeps its kernel and its order.
    The two files that run every lesson take longest: they begin together, and all others fill up behind them.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    if hasattr(config, "workerinput"):  # pytest-xdist's, in a worker
        per_file = Counter(item.path for item in slow)
        items.sort(key=lambda item: -per_file[item.path])
    else:
        items.sort(key=slow.__contains__)  # stable: files stay in order


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for some in terminalreporter.stats.values() for r in some if getattr(r, "when", None) == "call"]
    values = [value for report in reports for name, value in report.user_properties if name == "measured"]
    if outcomes := sorted((Outcome(**value) for value in values), key=lambda outcome: outcome.notebook):
        terminalreporter.section("notebooks by papermill, every cell twice")
        terminalreporter.write_line(table(outcomes))
