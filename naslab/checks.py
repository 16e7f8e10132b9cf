"""What is passed in, checked: `ValueError` with the name, what it got and what it allows."""

from math import inf, isfinite


def whole(lowest: int, **values: object) -> None:
    """Every value is an int of at least `lowest`."""
    for name, got in values.items():
        if not isinstance(got, int) or isinstance(got, bool) or got < lowest:
            raise ValueError(f"{name}: got {got!r}, expected an int of at least {lowest}")


def number(lowest: float, below: float = inf, **values: object) -> None:
    """Every value is a finite number of at least `lowest` and below `below`."""
    for name, got in values.items():
        if not isinstance(got, int | float) or isinstance(got, bool) or not isfinite(got) or not lowest <= got < below:
            limit = "" if below == inf else f" and below {below:g}"
            raise ValueError(f"{name}: got {got!r}, expected a number of at least {lowest:g}{limit}")


def positive(**values: object) -> None:
    """Every value is a finite number above 0."""
    for name, got in values.items():
        if not isinstance(got, int | float) or isinstance(got, bool) or not isfinite(got) or got <= 0:
            raise ValueError(f"{name}: got {got!r}, expected a number above 0")
