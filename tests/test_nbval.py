"""nbval sees every altered output, whether it executes a lesson or compares what papermill executed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import regenerate
import run_notebooks
from nbformat.v4 import new_output
from tiny_course import course

ROOT = Path(__file__).parent.parent
NBVAL = ["--nbval", "--nbval-current-env", f"--nbval-sanitize-with={ROOT}/tests/sanitize.cfg"]
EXECUTED = ["-p", "executed", "--executed=executed"]
SOURCES = [
    "print('accuracy', 0.83)",
    "(0, 1, 2)",
    'from IPython.display import SVG\nSVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="10"/>\')',
    "import ipywidgets\nipywidgets.IntSlider(value=3)",
    "'dropped below'",
    "import time; print(time.time())",
]

pytestmark = pytest.mark.slow


def code(path: Path) -> tuple[nbformat.NotebookNode, list[nbformat.NotebookNode]]:
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return notebook, [cell for cell in cells if "injected-parameters" not in cell.metadata.get("tags", ())]


@pytest.fixture(scope="module")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One lesson as committed and with an output of every kind altered; both as papermill executed them."""
    root = tmp_path_factory.mktemp("altered")
    path = course(root / "notebooks", same=SOURCES) / "same.ipynb"
    notebook, cells = code(path)
    cells[-1].metadata["tags"] = ["nbval-ignore-output"]
    nbformat.write(notebook, path)
    assert not regenerate.regenerate(path)
    notebook, (stream, result, svg, widget, dropped, tagged) = code(path)
    stream.outputs[0].text = "accuracy 0.84\n"
    result.outputs[0].data["text/plain"] = "(0, 1, 3)"
    svg.outputs[0].data["image/svg+xml"] = svg.outputs[0].data["image/svg+xml"].replace("10", "11")
    widget.outputs[0].data["text/plain"] = "IntSlider(value=4)"
    dropped.outputs = []
    tagged.outputs[0].text = "1.0\n"
    nbformat.write(notebook, path.with_name("altered.ipynb"))
    for name in ("same", "altered"):
        outcome = run_notebooks.run(path.with_name(f"{name}.ipynb"), root / "executed", {"profile": "quick"})
        assert outcome.failure is None
    (root / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}/tools\n", encoding="utf-8")
    return root


def verdicts(root: Path, *flags: str) -> tuple[dict[str, str], str]:
    command = [sys.executable, "-m", "pytest", "-rA", *NBVAL, *flags, "notebooks"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=600)
    found = re.findall(r"^(PASSED|FAILED|ERROR) \S*?(\w+\.ipynb::Cell \d)", done.stdout, re.M)
    return {cell: verdict for verdict, cell in found}, done.stdout


@pytest.mark.parametrize("flags", [[], EXECUTED], ids=["executed by nbval", "executed by papermill"])
def test_nbval_sees_every_altered_output(altered: Path, flags: list[str]) -> None:
    """All are seen but the tagged."""
    expected = {f"same.ipynb::Cell {n}": "PASSED" for n in range(6)}
    expected |= {f"altered.ipynb::Cell {n}": "FAILED" if n < 5 else "PASSED" for n in range(6)}
    found, text = verdicts(altered, *flags)
    assert found == expected, text


def test_what_papermill_executed_must_be_the_same_code_without_an_error(altered: Path, tmp_path: Path) -> None:
    root = tmp_path / "course"
    shutil.copytree(altered, root)
    path = root / "executed" / "same.ipynb"
    notebook, cells = code(path)
    cells[1].source += " "
    cells[2].outputs.append(new_output("error", ename="ValueError", evalue="no such op", traceback=["no such op"]))
    notebook.cells.remove(cells[-1])
    nbformat.write(notebook, path)
    (root / "executed" / "altered.ipynb").unlink()
    found, text = verdicts(root, *EXECUTED)
    same = ["PASSED", "FAILED", "FAILED", "PASSED", "PASSED", "FAILED"]
    assert found == {f"same.ipynb::Cell {n}": verdict for n, verdict in enumerate(same)} | {
        f"altered.ipynb::Cell {n}": "ERROR" for n in range(6)
    }, text
    for words in ("the executed notebook has other code", "no such op", "the executed notebook ends", "No such file"):
        assert words in text, text
