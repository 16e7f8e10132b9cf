"""What an answer gives: read into plain numbers, compared with what is right, and shown in a message.

An answer may be a number of Python or NumPy, a tensor of any precision, a list or a tuple. `read` makes plain Python
of it, so every check is written for plain values only.
"""

import math
import reprlib
from collections.abc import Iterable, Mapping
from itertools import islice
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import numpy as np
import torch
from torch import Tensor

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxdict = 30
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200

LONGEST = 10_000  # items of an answer that are looked at
LARGEST = 10**100  # in absolute value: the check computes with the numbers


class Unreadable(Exception):
    """What an answer gives has not the form that its exercise asks for. The text says what it is and what was asked."""


def read(value: Any, form: Any) -> Any:
    """The value in the form that a type describes. Raises `Unreadable` if it does not have it.

    Forms are `bool`, `int`, `float`, `str`, `None`, `Tensor`, `tuple[int, float]`, `list[int]` and `tuple[int, ...]`
    (of any length), `dict[str, float]`, unions of these, nested as needed, and `Any`. Every number is finite. A
    fraction is kept where an int is asked for, so that the check can say what is wrong with it.
    """
    try:
        return _read(_plain(value), form)
    except Exception as error:  # of any type: the value is the answer's, with methods of its own
        raise Unreadable(f"Got {shown(value)}; expected {_words(form)}.") from error


def same(got: Any, expected: Any) -> bool:
    """Whether both have the same shape and numbers: floats to 1e-5 of their size or 1e-6, everything else exactly.

    That is what float32 can give. A number that is not finite is never the same.
    """
    if isinstance(expected, Tensor):
        expected = expected.tolist()
    if isinstance(got, Tensor):
        got = got.tolist()
    if isinstance(expected, Mapping):
        return (
            isinstance(got, Mapping) and got.keys() == expected.keys() and all(same(got[k], expected[k]) for k in got)
        )
    if isinstance(expected, list | tuple):
        fits = isinstance(got, list | tuple) and len(got) == len(expected)
        return fits and all(map(same, got, expected))
    if isinstance(expected, float):
        return _is_number(got) and math.isclose(got, expected, rel_tol=1e-5, abs_tol=1e-6)
    return isinstance(got, bool) == isinstance(expected, bool) and bool(got == expected)


def is_rounded(got: Any, expected: int) -> bool:
    """Whether a count is right but for the digits that a float cannot hold."""
    return isinstance(got, float) and math.isclose(got, expected, rel_tol=1e-9)


def shown(value: Any) -> str:
    """A value of the answer, for a message: its `repr`, cut, in a code span, where Markdown and HTML mean nothing."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # of any type: the value is the answer's
        text = f"<{type(value).__name__}>"
    return span(text)


def span(text: str) -> str:
    """Text as a code span of one line, whatever is in it."""
    line = " ".join(text[:1000].split()).replace("`", "'")
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return f"`{line if len(line) <= 300 else line[:300] + '...'}`"


def _plain(value: Any) -> Any:
    """Tensors, arrays and NumPy's scalars as Python's numbers and lists, also inside lists, tuples and dicts."""
    match value:
        case Tensor() | np.ndarray() | np.generic():
            return value.tolist()
        case list() | tuple():
            return type(value)(map(_plain, value)) if type(value) in (list, tuple) else [*map(_plain, value)]
        case Mapping():
            return {_plain(k): _plain(v) for k, v in value.items()}
    return value


def _read(value: Any, form: Any) -> Any:
    args = get_args(form)
    if form is Any:
        return value
    if isinstance(form, UnionType):
        for option in args:
            try:
                return _read(value, option)
            except (TypeError, ValueError):
                continue
        raise ValueError
    if form is bool and value in (0, 1):
        return bool(value)
    if form in (NoneType, str):
        if not isinstance(value, form):
            raise TypeError
        return value
    if form in (list, tuple):
        return form(_items(value))
    if form in (int, float):
        return _number(value, form)
    if form is Tensor:
        return torch.tensor(_numbers(value), dtype=torch.float64)
    if get_origin(form) is dict:
        return {_read(k, args[0]): _read(v, args[1]) for k, v in dict(value).items()}
    items = _items(value)
    if get_origin(form) is tuple and args[-1] is not ...:
        return tuple(_read(item, arg) for item, arg in zip(items, args, strict=True))
    return get_origin(form)(_read(item, args[0]) for item in items)


def _number(value: Any, form: type) -> Any:
    if isinstance(value, bool | str | bytes):
        raise TypeError
    number = value if isinstance(value, int) else float(value)
    if not -LARGEST < number < LARGEST:  # nor is NaN
        raise ValueError
    whole = form is int and number == int(number) and abs(number) < 2**53  # larger floats may have lost digits
    return int(number) if whole or isinstance(value, int) else number


def _numbers(value: Any) -> Any:
    """A number, or nested lists of numbers."""
    return [*map(_numbers, _items(value))] if isinstance(value, Iterable) else _number(value, float)


def _items(value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping):
        raise TypeError
    items = [*islice(value, LONGEST + 1)]
    if len(items) > LONGEST:
        raise ValueError
    return [*map(_plain, items)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _words(form: Any, many: bool = False) -> str:
    """A form in words: "a number", "two lists of integers"."""
    one = {int: "an integer", float: "a number", bool: "True or False", str: "a name", list: "a list", tuple: "a tuple"}
    more = {int: "integers", float: "numbers", bool: "truth values", str: "names", list: "lists", tuple: "tuples"}
    args, origin = get_args(form), get_origin(form)
    if form in one:
        return more[form] if many else one[form]
    if form is NoneType:
        return "None"
    if form is Tensor:
        return "a tensor of numbers"
    if isinstance(form, UnionType):
        return " or ".join(_words(option, many) for option in args)
    if origin is dict:
        return f"{'dicts' if many else 'a dict'} of {_words(args[1], True)} by {_words(args[0])}"
    if origin is list or (origin is tuple and args[-1] is ...):
        return f"{'lists' if many else 'a list'} of {_words(args[0], True)}"
    if origin is tuple:
        count = {2: "two", 3: "three"}.get(len(args), str(len(args)))
        parts = f"{count} {_words(args[0], True)}" if len({*args}) == 1 else ", ".join(map(_words, args))
        return f"{'tuples of ' if many else ''}{parts}"
    return "another value"
