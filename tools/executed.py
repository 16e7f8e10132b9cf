"""A pytest plugin for nbval: compares outputs that papermill has made already, so that nothing is executed again.

`pytest --executed FOLDER lesson.ipynb` takes what each cell puts out from `FOLDER/lesson.ipynb`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbval.plugin import IPyNbFile
from run_notebooks import OWN_CELLS

IDLE = {"output_type": "status", "execution_state": "idle"}


class Executed:
    """What nbval uses of a kernel. It runs no cell, but sends the messages that the outputs of the cell came from."""

    def __init__(self, path: Path) -> None:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        self.cells = iter(cell for cell in cells if not OWN_CELLS & set(cell.metadata.get("tags", ())))
        self.messages: Iterator[dict[str, Any]] = iter(())

    def execute_cell_input(self, source: str, allow_stdin: bool = False) -> str:
        cell = next(self.cells, None)
        if cell is None:
            raise ValueError("the executed notebook ends before this cell")
        if cell.source != source:
            raise ValueError(f"the executed notebook has other code: got {cell.source!r}, expected {source!r}")
        self.messages = iter([*map(message, cell.outputs), message(IDLE)])
        return "cell"

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        return next(self.messages)

    def await_reply(self, *_: object, **__: object) -> None: ...

    await_idle = await_reply
    stop = await_reply

    def is_alive(self) -> bool:
        return True


def message(output: dict[str, Any]) -> dict[str, Any]:
    return {"msg_type": output["output_type"], "content": output, "parent_header": {"msg_id": "cell"}}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--executed", type=Path, metavar="FOLDER", help="notebooks that papermill has executed")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    if folder := session.config.option.executed:
        for file in {item.parent for item in session.items if isinstance(item.parent, IPyNbFile)}:
            file.setup = lambda file=file: replay(file, folder)


def replay(file: IPyNbFile, folder: Path) -> None:
    """Instead of `IPyNbFile.setup`, which starts a kernel."""
    file.kernel = Executed(folder / file.path.name)
    file.setup_sanitize_files()
