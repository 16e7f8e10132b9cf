"""Executes the committed notebooks and stores their outputs in place, without anything that differs from run to run.

A notebook does not change if its execution fails or its outputs name a path of this machine; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from code_hash import code_hash
from course_table import write
from fold import fold
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from promise import promise
from run_notebooks import ONE_THREAD, ROOT, notebooks
from tqdm import tqdm
from traitlets.config import Config

WIDGET = "application/vnd.jupyter.widget-view+json"
CELL_METADATA = ("tags", "jupyter", "naslab")  # metadata that cleaning keeps
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
TEMPORARY = re.compile(r"ipykernel_\d+")


def execute(notebook: Any, folder: Path) -> Any:
    """Returns a copy of the notebook with new outputs, run in `folder` by a kernel of this environment."""
    fresh = copy.deepcopy(notebook)
    client = NotebookClient(
        fresh,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
        store_widget_state=False,
        coalesce_streams=True,  # the division of output into messages depends on timing
    )
    client.execute(env=os.environ | ONE_THREAD | {"NASLAB_PROGRESS": "0"})  # as in conftest.py
    return fresh


def clean(notebook: Any) -> Any:
    """Returns a copy without timings, paths, versions, widget state and random ids, its plumbing folded.

    `clean(clean(n)) == clean(n)`.
    """
    tidy = copy.deepcopy(notebook)
    own = tidy.metadata.get("naslab")
    tidy.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": LANGUAGE} | ({"naslab": own} if own else {})
    )
    tidy.nbformat, tidy.nbformat_minor = 4, 5
    seen: set[str] = set()
    views: dict[str, str] = {}  # widget models, numbered in order of appearance
    for number, cell in enumerate(tidy.cells):
        if cell.get("id") is None or cell.id in seen:
            cell.id = f"cell-{number:03d}"
        seen.add(cell.id)
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)})
        if cell.cell_type != "code":
            continue
        fold(cell)
        for output in cell.outputs:
            output.pop("transient", None)
            if WIDGET in output.get("data", {}):
                view = output.data[WIDGET]
                view["model_id"] = views.setdefault(view["model_id"], f"{len(views):032x}")
    return tidy


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def machine_paths() -> tuple[str, ...]:
    """Returns the folders that committed outputs must not name."""
    found = {str(ROOT), sys.prefix, sys.base_prefix, str(Path.home()), tempfile.gettempdir()}
    return tuple(sorted(path for path in found if len(path) > 3 and path not in ("/usr", "/usr/local")))


def leaks(notebook: Any, paths: tuple[str, ...]) -> list[str]:
    """Returns what a committed notebook must not have: folders of this machine, files of the kernel, errors."""
    found = []
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        for output in cell.outputs:
            text = "\n".join(strings(output))
            found += [f"code cell {number}: its output names {path}" for path in paths if path in text]
            if TEMPORARY.search(text):
                found.append(f"code cell {number}: its output names a file of the kernel (a warning?)")
            if output.output_type == "error":
                found.append(f"code cell {number}: {output.ename}: {output.evalue}")
    return found


def computed_by(notebook: Any) -> str:
    """Returns the hash of the notebook's code cells and of the current package code that they import.

    The hash includes the checks of its exercises, although their module is imported by a computed name.
    """
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    lessons = sorted({*re.findall(r"""check\(["'](\d\d)\.""", code)})
    return code_hash("\n".join([code, *(f"import naslab.exercises.lesson_{number}" for number in lessons)]))


def regenerate(path: Path) -> list[str]:
    """Re-executes one notebook and writes it. If it cannot be committed, returns the problems instead.

    The metadata `naslab.code` stores the hash of the code that made the outputs. Compare it with `computed_by`.
    """
    notebook = nbformat.read(path, as_version=4)
    code = computed_by(notebook)
    try:
        fresh = clean(execute(notebook, path.parent))
    except CellExecutionError as error:
        return [f"{error.ename}: {error.evalue}"]
    except DeadKernelError as error:
        return [str(error)]
    problems = leaks(fresh, machine_paths())
    try:
        promise(fresh)
    except RuntimeError as error:
        problems.append(str(error))
    if computed_by(notebook) != code:
        problems.append("the package has changed while it ran")
    fresh.metadata.setdefault("naslab", nbformat.from_dict({}))["code"] = code
    if not problems:
        nbformat.validate(fresh)
        write(path, nbformat.writes(fresh).rstrip("\n") + "\n")
    return problems


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NN", help="number, or beginning of a notebook's name")
    parser.add_argument("--folder", type=Path, default=ROOT / "notebooks")
    args = parser.parse_args(argv)
    try:
        paths = notebooks(args.folder, args.only)
    except ValueError as error:
        parser.error(str(error))
    problems = []
    with tqdm(paths, unit="notebook", disable=None) as bar:
        for path in bar:
            bar.set_description(path.stem)
            problems += [f"{path.name}: left as it was: {problem}" for problem in regenerate(path)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
