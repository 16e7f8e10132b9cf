"""The hash of a source and of the package code that it reaches: what was made by older code is found without a run.

It changes with every name, constant, op and default of the source and of the modules that it imports, directly or
through others, also inside functions. It does not change with comments, docstrings, layout, the version of Python, or
a module that is not imported. A module that is imported by a computed name is not seen.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent / "naslab"


def code_hash(source: str, package: Path = PACKAGE) -> str:
    """The hash of `source`, such as a notebook's code, and of the modules of `package` behind it: 16 hex digits."""
    trees, left = {"": ast.parse(source)}, [""]
    while left:
        for name, path in imported(trees[left.pop()], package):
            if name not in trees:
                trees[name] = ast.parse(path.read_text(encoding="utf-8"))
                left.append(name)
    canonical = [[name, plain(tree)] for name, tree in sorted(trees.items())]
    return hashlib.sha256(repr(canonical).encode()).hexdigest()[:16]


def imported(tree: ast.AST, package: Path) -> Iterator[tuple[str, Path]]:
    """The modules of the package that a tree imports, and the packages around them: dotted names and files."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module=str(module)):
                names = [f"{module}.{alias.name}" for alias in node.names]
            case ast.ImportFrom():
                raise ValueError(f"line {node.lineno}: got a relative import, expected absolute ones")
            case _:
                continue
        for parts in (name.split(".") for name in names if name.split(".")[0] == package.name):
            for end in range(1, len(parts) + 1):
                place = package.joinpath(*parts[1:end])
                for path in (place / "__init__.py", place.with_suffix(".py")):
                    if path.exists():  # else the name is one that a module defines
                        yield ".".join(parts[:end]), path


def plain(value: Any) -> Any:
    """A syntax tree as nested lists, without places, docstrings and empty fields, which differ between Pythons."""
    match value:
        case ast.JoinedStr(values=parts):  # an f-string; Python 3.12 adds empty strings to its formats
            return ["JoinedStr", [plain(part) for part in parts if getattr(part, "value", None) != ""]]
        case ast.AST():
            fields = ((name, plain(field)) for name, field in ast.iter_fields(value))
            return [type(value).__name__, *([name, field] for name, field in fields if field not in (None, []))]
        case list():
            return [plain(item) for item in value if not is_docstring(item)]
    return None if value is None else repr(value)


def is_docstring(item: Any) -> bool:
    match item:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False
