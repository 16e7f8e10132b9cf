"""The source of a solution as a reader can paste it: with its imports, without annotations."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any


def pasteable(function: Callable[..., Any]) -> str:
    """Returns the function's source with the imports of its module that it uses, and without its annotations."""
    source = textwrap.dedent(inspect.getsource(function)).strip()
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.FunctionDef)
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:n])) for n in range(len(lines))]

    def place(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    for begin, end in sorted(_annotations(definition, source, place), reverse=True):
        source = source[:begin] + source[end:]
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    module = ast.parse(inspect.getsource(inspect.getmodule(function)))  # type: ignore[arg-type]
    imports = [text for node in module.body if (text := _needed(node, used))]
    return "\n".join([*imports, *["", ""][: 2 * bool(imports)], source])


def _annotations(
    definition: ast.FunctionDef, source: str, place: Callable[[int, int], int]
) -> Iterator[tuple[int, int]]:
    """Yields the beginning and the end of each annotation in the source, with its colon or arrow."""
    of = definition.args
    for a in (*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))):
        if a.annotation is not None:
            begin = place(a.lineno, a.col_offset) + len(a.arg)
            yield begin, place(a.annotation.end_lineno, a.annotation.end_col_offset)  # type: ignore[arg-type]
    if (r := definition.returns) is not None:
        end = place(r.end_lineno, r.end_col_offset)  # type: ignore[arg-type]
        yield source.rindex(")", 0, place(r.lineno, r.col_offset)) + 1, end


def _needed(node: ast.stmt, used: set[str]) -> str:
    """Returns an import statement with only the names that are used; empty if it has none."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return ""
    kept = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in used]
    return ast.unparse(type(node)(**{**vars(node), "names": kept})) if kept else ""
