"""Checks the arrays, tensors and lists that a user passes in."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def whole(name: str, value: int, least: int, most: float = math.inf) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
        allowed = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name}: got {value!r}, expected a whole number {allowed}")
    return int(value)


def check_tensors(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: got {type(value).__name__}, expected a tensor")


def distinct_names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """Returns the values as a tuple. Raises `ValueError` unless they are different strings, at least one."""
    found = tuple(values) if isinstance(values, Sequence | np.ndarray) else ()
    if not found or len(set(found)) < len(found) or not all(isinstance(value, str) for value in found):
        raise ValueError(f"{name}: got {str(values)[:80]}, expected a sequence of different names, at least one")
    return tuple(map(str, found))


def as_array(where: str, values: Any) -> np.ndarray:
    """Converts an array, a tensor on any device or a nested list to an array."""
    try:
        if isinstance(values, Tensor):
            values = values.detach().cpu()
            return (values.float() if values.dtype is torch.bfloat16 else values).numpy()
        return np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: got {type(values).__name__}, expected an array ({error})") from None


def check_range(where: str, values: np.ndarray, what: str, below: float = math.inf) -> None:
    """Raises `ValueError` unless all of the whole numbers (N,) are at least 0 and less than `below`."""
    if not values.size or (values.min() >= 0 and values.max() < below):
        return
    at = int(((values < 0) | (values >= below)).argmax())
    allowed = "at least 0" if below == math.inf else f"0 to {below - 1}"
    raise ValueError(f"{where}: got {what} {values[at]} at index {at}, expected {allowed}")


def check_finite(where: str, x: np.ndarray) -> None:
    """Raises `ValueError` unless every pixel of x (N, C, H, W) is finite."""
    if not np.isfinite([x.min(), x.max()]).all():
        bad = next(k for k, image in enumerate(x) if not np.isfinite(image).all())
        raise ValueError(f"{where}: got a pixel that is not finite in image {bad}, expected finite numbers")


def stretches(x: np.ndarray) -> Iterator[slice]:
    """Yields slices of the images x (N, C, H, W) that take about 8 MB each in float64."""
    step = max(1, (1 << 20) // x[0].size)
    return (slice(start, start + step) for start in range(0, len(x), step))
