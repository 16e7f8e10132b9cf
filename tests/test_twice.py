"""A lesson with every cell two times in a row."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import regenerate
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from twice import original, twice


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    cells = [
        new_markdown_cell("# A lesson"),
        new_code_cell("k: int = 1  # how many", metadata={"tags": ["parameters"]}),
        new_code_cell("import os; print(os.path.basename(os.getcwd())); seen = []", id="a" * 64),
        new_markdown_cell("And now:"),
        new_code_cell("seen.append(k); assert seen == [2], 'the list has grown'", metadata={"tags": ["keep"]}),
    ]
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "lesson.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": regenerate.KERNEL}), path)
    return path


def test_every_cell_of_code_but_the_parameters_is_there_twice(lesson: Path, tmp_path: Path) -> None:
    before = lesson.read_bytes()
    doubled = nbformat.read(twice(lesson, tmp_path / "twice"), as_version=4)
    nbformat.validate(doubled)
    parameters, first, last = (c for c in nbformat.read(lesson, as_version=4).cells if c.cell_type == "code")
    code = [cell.source for cell in doubled.cells if cell.cell_type == "code"]
    assert code == [cell.source for cell in (parameters, first, first, last, last)]
    assert len({cell.id for cell in doubled.cells}) == len(doubled.cells) == 7
    assert doubled.cells[-1].metadata == doubled.cells[-2].metadata == {"tags": ["keep"]}
    assert lesson.read_bytes() == before


def test_cells_are_named_by_their_numbers_in_the_lesson(lesson: Path) -> None:
    names = [original(f"stopped in code cell {n}: late", lesson) for n in range(1, 6)]
    expected = ["1", "2", "2, run again", "3", "3, run again"]
    assert names == [f"stopped in code cell {name}: late" for name in expected]


@pytest.mark.slow
def test_a_cell_that_works_only_once_fails(lesson: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "papermill", twice(lesson, tmp_path / "twice"), tmp_path / "out.ipynb"]
    command += ["--cwd", lesson.parent, "-p", "k", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=os.environ)
    assert done.returncode == 1 and "the list has grown" in done.stderr
    cells = [cell for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells if cell.cell_type == "code"]
    assert [cell.outputs[0].text for cell in cells if cell.source.startswith("import os")] == ["notebooks\n"] * 2
    (failed,) = [n for n, c in enumerate(cells) if any(o.output_type == "error" for o in c.outputs)]
    assert cells[failed - 1].source == cells[failed].source and not cells[failed - 1].outputs
