"""The architecture's rules hold, and each of them catches what it is there for."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "--no-logo", "--config", ROOT / "pyproject.toml"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_rules_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "rule"),
    [
        ("spaces/cells.py", "from naslab import networks", "Imports only point down"),
        ("training/images.py", "from naslab.search import evolution", "Imports only point down"),
        ("surprise.py", "", "surprise"),  # a module without a layer
        ("search/random_search.py", "from naslab.search import evolution", "Searches know nothing of each other"),
        ("ops.py", "import matplotlib.pyplot", "Only view draws"),
        ("exercises/lesson_01.py", "import ipywidgets", "Only view.widgets needs ipywidgets"),
        ("networks/cells.py", "from naslab.networks.supergraph import MacroNet", "Supergraphs stand on children"),
        ("data/text.py", "from naslab.data.images import Images", "Images know nothing of text"),
        ("data/files.py", "import pytest", "The package needs neither its tests nor a notebook's runner"),
    ],
)
def test_a_planted_import_is_caught(tmp_path: Path, module: str, line: str, rule: str) -> None:
    shutil.copytree(ROOT / "naslab", tmp_path / "naslab", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    with (tmp_path / "naslab" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert re.search(rule if module == "surprise.py" else f"{re.escape(rule)}.* BROKEN", done.stdout)
