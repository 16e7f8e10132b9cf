"""The package's own source, shown in a notebook so that text and code cannot drift apart."""

import inspect
import textwrap
from functools import cached_property
from pathlib import Path
from typing import Any

from IPython.display import Markdown

import naslab


def source(obj: Any) -> Markdown:
    """The source of a module, class, function, method or property of the package, and the file where it lives.

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
    return Markdown(f"`{place}`\n\n```python\n{text}\n```")
