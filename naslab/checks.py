"""Checks of arguments. Each raises a `ValueError` with the argument's name, its value and the allowed values.

NumPy's numbers count as numbers. `True` and `False` do not.
"""

from dataclasses import fields
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any


def whole(lowest: int, below: int = 2**63, /, **values: Any) -> None:
    """Every value is an int of at least `lowest` and below `below`. The default 2^63 is the limit of int64 tensors."""
    for name, got in values.items():
        if not isinstance(got, Integral) or isinstance(got, bool) or not lowest <= int(got) < below:
            large = isinstance(got, Integral) and int(got) >= below
            limit = f" and below {below}" if large or below < 2**63 else ""
            raise ValueError(f"{name}: got {shown(got)}, expected an int of at least {lowest}{limit}")


def number(lowest: float, below: float = inf, /, **values: Any) -> None:
    """Every value is a finite number of at least `lowest` and below `below`."""
    for name, got in values.items():
        if not _finite(got) or not lowest <= got < below:
            limit = "" if below == inf else f" and below {below:g}"
            allowed = "a finite number" if lowest == -inf else f"a number of at least {lowest:g}"
            raise ValueError(f"{name}: got {shown(got)}, expected {allowed}{limit}")


def fraction(**values: Any) -> None:
    """Every value is a number from 0 to 1, both included."""
    for name, got in values.items():
        if not _finite(got) or not 0 <= got <= 1:
            raise ValueError(f"{name}: got {shown(got)}, expected a number from 0 to 1")


def positive(**values: Any) -> None:
    """Every value is a finite number above 0."""
    for name, got in values.items():
        if not _finite(got) or got <= 0:
            raise ValueError(f"{name}: got {shown(got)}, expected a number above 0")


def flag(**values: object) -> None:
    """Every value is True or False."""
    for name, got in values.items():
        if not isinstance(got, bool):
            raise ValueError(f"{name}: got {shown(got)}, expected True or False")


def is_a(kind: type, **values: object) -> None:
    """Every value is an instance of `kind`."""
    for name, got in values.items():
        if not isinstance(got, kind):
            raise ValueError(f"{name}: got {type(got).__name__}, expected {kind.__name__}")


def plain(value: Any) -> Any:
    """Returns the value with NumPy's numbers converted to Python's, also inside tuples."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, int) else value


def plain_fields(config: Any) -> None:
    """Converts the NumPy numbers of a frozen dataclass to Python's. Called in `__post_init__`.

    Python's numbers compare, print and save well. An int in a float field becomes a float, because torch cannot compute
    with an int beyond int64.
    """
    for field in fields(config):
        value = plain(getattr(config, field.name))
        if field.type in (float, float | None) and type(value) is int:
            value = float(value)
        object.__setattr__(config, field.name, value)


def shown(value: object) -> str:
    """Returns the text of a value for a message: at most 80 characters."""
    try:
        text = repr(value)
    except Exception as error:  # a broken `__repr__`, or an int of more than 4,300 digits
        return f"a {type(value).__name__} that cannot be printed ({type(error).__name__})"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _finite(got: Any) -> Any:
    try:
        return isinstance(got, Real) and not isinstance(got, bool) and isfinite(got)
    except OverflowError:  # an int larger than every float
        return False
