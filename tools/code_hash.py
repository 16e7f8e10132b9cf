"""The hash of a source and of the package code that it imports. It finds outputs of older code without a run.

The hash changes with every name, constant, op and default of the source and of the modules that it imports, directly or
through others, also inside functions. It does not change with comments, docstrings, layout, the version of Python, or
modules that are not imported. It does not include modules that are imported by a computed name.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent / "naslab"


def code_hash(source: str, package: Path = PACKAGE) -> str:
    """Returns the hash, 16 hex digits, of `source`, such as a notebook's code, and of the modules that it imports."""
    texts, left = {"": source}, [""]
    while left:
        tree, _ = parsed(texts[left.pop()])
        for name, path in imported(tree, package):
            if name not in texts:
                texts[name] = path.read_text(encoding="utf-8")
                left.append(name)
    canonical = ", ".join(f"[{name!r}, {parsed(text)[1]}]" for name, text in sorted(texts.items()))
    return hashlib.sha256(f"[{canonical}]".encode()).hexdigest()[:16]


@cache  # the lessons import the same modules
def parsed(text: str) -> tuple[ast.Module, str]:
    """Returns the syntax tree of a source, and the part of it that the hash includes."""
    tree = ast.parse(text)
    return tree, repr(plain(tree))


def imported(tree: ast.AST, package: Path) -> Iterator[tuple[str, Path]]:
    """Yields the modules of the package that a tree imports, and their parent packages, as (dotted name, file)."""
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
                    if path.exists():  # otherwise a module defines the name
                        yield ".".join(parts[:end]), path


def plain(value: Any) -> Any:
    """Converts a syntax tree to nested lists, without docstrings and without what differs between Python versions.

    These are positions and empty fields.
    """
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
