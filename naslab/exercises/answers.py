"""The values of answers: converted to plain numbers, compared with the correct ones, and shown in messages.

A value may be a number of Python or NumPy, a tensor of any precision, a list or a tuple. `read` converts it to plain
Python, so checks handle plain values only.
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

LONGEST = 10_000  # largest number of items in an answer
LARGEST = 10**100  # limit of absolute values: checks compute with these numbers


class Unreadable(Exception):
    """A value of an answer does not have the form that the exercise asks for. The text states both."""


def read(value: Any, form: Any) -> Any:
    """Converts the value to a form, which is given as a type. Raises `Unreadable` if the value does not have this form.

    Forms are `bool`, `int`, `float`, `str`, `None`, `Tensor`, `tuple[int, float]`, `list[int]` and `tuple[int, ...]`
    (of any length), `dict[str, float]`, unions of these, nested as needed, and `Any`. Every number must be finite. For
    the form int a fraction stays a fraction, so that the check can explain the mistake.
    """
    try:
        return _read(_plain(value), form)
    except Exception as error:  # of any type: the answer may define the value's methods
        raise Unreadable(f"Got {shown(value)}; expected {_words(form)}.") from error


def same(got: Any, expected: Any) -> bool:
    """Returns whether both have the same shape and numbers. Numbers that are not finite are never the same.

    Floats are compared with a relative tolerance of 1e-5 or an absolute one of 1e-6, which float32 satisfies. All else
    is compared exactly.
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
    """Returns whether a count is correct except for digits that a float cannot store."""
    return isinstance(got, float) and math.isclose(got, expected, rel_tol=1e-9)


def shown(value: Any) -> str:
    """Returns a value of the answer for a message: its `repr`, shortened, in a code span.

    Markdown and HTML in a code span are not interpreted.
    """
    try:
        text = _SHORT.repr(value)
    except Exception:  # of any type: the answer may define the value
        text = f"<{type(value).__name__}>"
    return span(text)


def span(text: str) -> str:
    """Returns any text as a code span of one line."""
    line = " ".join(text[:1000].split()).replace("`", "'")
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return f"`{line if len(line) <= 300 else line[:300] + '...'}`"


def _plain(value: Any) -> Any:
    """Converts tensors, arrays and NumPy scalars to Python's numbers and lists, also inside lists, tuples and dicts."""
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
    if not -LARGEST < number < LARGEST:  # also false for NaN
        raise ValueError
    whole = form is int and number == int(number) and abs(number) < 2**53  # larger floats may have lost digits
    return int(number) if whole or isinstance(value, int) else number


def _numbers(value: Any) -> Any:
    """Reads a number, or nested lists of numbers."""
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
    """Describes a form in words: "a number", "two lists of integers"."""
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
