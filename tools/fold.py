"""Folds the code cells of a lesson that readers need not read: JupyterLab shows a bar that opens them, and the outputs.

Folded are the parameters, the profiles, cells of assertions only, and calls of a plot that take more than three lines.
"""

from __future__ import annotations

import ast
from typing import Any

PLOTS = {"bars", "curves", "heatmap", "histogram", "images", "points"}  # of `naslab.view`


def called(node: ast.AST) -> str:
    """Returns "view.curves" for such a call, as an expression or a value that is assigned; else ""."""
    call = getattr(node, "value", None)
    return ast.unparse(call.func) if isinstance(node, ast.Expr | ast.Assign) and isinstance(call, ast.Call) else ""


def is_folded(source: str, tags: list[str]) -> bool:
    if "parameters" in tags:
        return True
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return False
    steps = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
    if any(called(node) == "runs.start" for node in steps):
        return True
    if steps and all(isinstance(node, ast.Assert) for node in steps):
        return True
    plots = bool(steps) and all(called(node).removeprefix("view.") in PLOTS for node in steps)
    return plots and len(source.splitlines()) > 3


def fold(cell: Any) -> None:
    """Marks a code cell as folded, or as open."""
    jupyter = {key: value for key, value in cell.metadata.get("jupyter", {}).items() if key != "source_hidden"}
    if is_folded(cell.source, cell.metadata.get("tags", [])):
        jupyter["source_hidden"] = True
    cell.metadata.pop("jupyter", None)
    if jupyter:
        cell.metadata["jupyter"] = jupyter
