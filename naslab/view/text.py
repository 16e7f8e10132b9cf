"""The package's own source, shown in a notebook, so that lesson and code always agree."""

import html
import inspect
import textwrap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, Token

import naslab

# JupyterLab's colours of code, which follow its theme. Pages without them get the second colour.
_COLORS = {
    Comment: ("comment", "#408080"),
    Keyword: ("keyword", "#008000"),
    Name.Builtin: ("builtin", "#008000"),
    Name.Function: ("def", "#0000FF"),
    Name.Class: ("def", "#0000FF"),
    Number: ("number", "#666666"),
    Operator: ("operator", "#666666"),
    Operator.Word: ("keyword", "#008000"),
    String: ("string", "#BA2121"),
}


@dataclass(frozen=True)
class Source:
    """Code and the file that has it. `data` is its Markdown."""

    place: str
    code: str

    @property
    def data(self) -> str:
        return f"`{self.place}`\n\n```python\n{self.code}\n```"

    def __repr__(self) -> str:
        return f"{self.place}\n\n{self.code}"

    def _repr_markdown_(self) -> str:
        return self.data

    def _repr_html_(self) -> str:
        return f"<p><code>{html.escape(self.place)}</code></p><pre>{_colored(self.code)}</pre>"


def source(obj: Any) -> Source:
    """Returns the source of a module, class, function, method or property of the package, and the file that has it.

    Raises `ValueError` for anything else.
    """
    if isinstance(obj, property):
        obj = obj.fget
    elif isinstance(obj, cached_property):
        obj = obj.func
    try:
        file = Path(inspect.getsourcefile(obj) or "").resolve()
        place = file.relative_to(Path(naslab.__file__).resolve().parent.parent).as_posix()
        text = textwrap.dedent(inspect.getsource(obj)).strip()
    except (TypeError, OSError, ValueError):
        raise ValueError(f"source: got {obj!r}, expected a module, class or function of naslab") from None
    return Source(place, text)


def _colored(code: str) -> str:
    """Returns the code as HTML, each word in its colour."""
    pieces = []
    for kind, word in PythonLexer().get_tokens(code):
        while kind not in _COLORS and kind is not Token:
            kind = kind.parent
        text = html.escape(word)
        if kind in _COLORS:
            name, color = _COLORS[kind]
            text = f'<span style="color: var(--jp-mirror-editor-{name}-color, {color})">{text}</span>'
        pieces.append(text)
    return "".join(pieces).rstrip()
