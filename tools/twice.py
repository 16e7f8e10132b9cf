"""Repeats every code cell of a lesson, like a reader who changes a cell and runs it again."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
from course_table import write


def twice(path: Path, folder: Path) -> Path:
    """Writes the notebook into `folder` with each code cell twice, except the cell tagged `parameters`."""
    notebook = nbformat.read(path, as_version=4)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if repeated(cell):
            cells.append(copy.deepcopy(cell))
            cells[-1].id = f"{cell.id[:50]}-again"
    notebook.cells = cells
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / path.name, nbformat.writes(notebook))
    return folder / path.name


def repeated(cell: nbformat.NotebookNode) -> bool:
    return cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", ())


def original(message: str, path: Path) -> str:
    """Converts "code cell n" of `twice(path)` in a message to the number of the cell in the notebook itself."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    names = [""]
    for number, cell in enumerate(code, start=1):
        names += [f"code cell {number}"] + [f"code cell {number}, run again"] * repeated(cell)
    return re.sub(r"\bcode cell (\d+)", lambda match: names[int(match[1])], message)
