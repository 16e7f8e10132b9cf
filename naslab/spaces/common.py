"""Functions of a space that several spaces share. Each class binds them as its methods."""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral

import torch
from torch import Tensor

from naslab.spaces.protocol import Space, Tokens, Weights, allowed

ROUNDING = 0.01  # tolerance of a sum of weights, relative: the error in bfloat16 is up to about 0.004


def check(space: Space, tokens: Iterable[int]) -> Tokens:
    """Returns the tokens as a tuple of ints. Raises `ValueError` with the decision's name, the token and the range.

    Other integer types, such as NumPy's, are converted to int.
    """
    try:
        items = None if isinstance(tokens, set | frozenset | dict) else tuple(tokens)
    except (TypeError, RuntimeError):
        items = None
    if items is None:
        raise ValueError(f"tokens: got {tokens!r}, expected a sequence of ints")
    if len(items) != len(space.decisions):
        raise ValueError(f"tokens: got {len(items)}, the space has {len(space.decisions)} decisions")
    checked: list[int] = []
    for decision, item in zip(space.decisions, items, strict=True):
        token = item if type(item) is int else as_int(decision.name, item)
        if not 0 <= token < len(decision.options):
            raise ValueError(f"{decision.name}: token {token} is outside {short(allowed(decision, checked))}")
        for p in decision.differs_from:
            if checked[p] == token:
                free = short(allowed(decision, checked))
                raise ValueError(
                    f"{decision.name}: token {token} is taken by {space.decisions[p].name}, expected one of {free}"
                )
        checked.append(token)
    return tuple(checked)


def as_int(name: str, item: object) -> int:
    try:
        return int(operator.index(item))  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}: token {item!r} is not an int") from None


def short(values: Sequence[int]) -> str:
    if len(values) > 8 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]}..{values[-1]}"
    return str(tuple(values))


def sample(space: Space, generator: torch.Generator) -> Tokens:
    """Returns a uniformly random valid string. `generator` must be on the CPU."""
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(f"generator: got {generator!r}, expected a torch.Generator on the CPU")
    tokens: Tokens = ()
    for decision in space.decisions:
        choices = allowed(decision, tokens)
        tokens += (choices[int(torch.randint(len(choices), (), generator=generator))],)
    return tokens


def strings(space: Space) -> int:
    """Number of valid strings: the strings that a controller can write."""
    return math.prod(len(d.options) - len(d.differs_from) for d in space.decisions)


def one_hot(space: Space, tokens: Iterable[int], **like) -> Weights:
    """Returns the corner that the tokens name: 1 at every chosen option, 0 elsewhere. `like` sets dtype and device."""
    weights = {table: torch.zeros(shape) for table, shape in space.tables.items()}
    for decision, token in zip(space.decisions, space.check(tokens), strict=True):
        weights[decision.kind][(*decision.row, token)] = 1.0
    return converted(weights, like)


def converted(weights: Weights, like: dict) -> Weights:
    """Converts the tables to the dtype and device in `like`. Raises `ValueError` if the dtype is not a float type."""
    try:
        found = {table: w.to(**like) for table, w in weights.items()}
    except (TypeError, RuntimeError):
        found = {}
    if not like.keys() <= {"dtype", "device"} or not all(w.is_floating_point() for w in found.values()) or not found:
        raise ValueError(f"like: got {like}, expected a dtype of floats, a device or both")
    return found


def discretise(space: Space, weights: Weights) -> Tokens:
    """Returns the nearest corner: the option with the largest weight in every row, the first one in a tie."""
    point = check_weights(space, weights)
    for d in space.decisions:
        check_sum(d.kind, point[d.kind][d.row], 1, d.name)
    return tuple(int(point[d.kind][d.row].argmax()) for d in space.decisions)


def check_tables(space: Space, weights: Weights) -> None:
    """Raises `ValueError` unless `weights` has exactly the space's tables, as dense tensors of floats."""
    if not isinstance(weights, dict) or weights.keys() != space.tables.keys():
        names = list(weights) if isinstance(weights, dict) else type(weights).__name__
        raise ValueError(f"weights: got {names}, expected a dict of the tables {list(space.tables)}")
    for table, shape in space.tables.items():
        w = weights[table]
        if not isinstance(w, Tensor) or w.is_nested or w.layout != torch.strided:
            got = f"a tensor of layout {w.layout}" if isinstance(w, Tensor) else type(w).__name__
            raise ValueError(f"weights: {table} is {got}, expected a dense tensor of floats of {shape}")
        if not w.is_floating_point() or tuple(w.shape) != shape:
            raise ValueError(f"weights: {table} is {w.dtype} of {tuple(w.shape)}, expected floats of {shape}")


def check_weights(space: Space, weights: Weights, largest: int = 1) -> Weights:
    """Returns the tables in float64 on the CPU.

    Raises `ValueError` if an entry is negative or not finite, or if a row adds up to more than `largest`. The softmax
    of any alpha, every corner and all points between them pass. Alpha itself does not.
    """
    check_tables(space, weights)
    point: Weights = {}
    for table, w in weights.items():
        if w.is_meta or not (w := w.detach().cpu().double()).isfinite().all():
            raise ValueError(f"weights: {table} has entries that are not finite numbers")
        if w.min() < 0 or w.sum(-1).max() > largest * (1 + ROUNDING):
            got = f"an entry of {w.min():.4g}" if w.min() < 0 else f"a row that adds up to {w.sum(-1).max():.4g}"
            expected = f"no negative numbers and at most {largest} in a row"
            raise ValueError(f"weights: {table} has {got}, expected {expected}; take alpha.softmax(-1) first")
        point[table] = w
    return point


def check_sum(table: str, rows: Tensor, least: int, name: str) -> None:
    """Raises `ValueError` if the weights that a decision or a node chooses from add up to less than `least`."""
    if rows.sum() < least * (1 - ROUNDING):
        got = f"weights for {name} that add up to {rows.sum():.4g}"
        raise ValueError(f"weights: {table} has {got}, expected at least {least}; take alpha.softmax(-1) first")


def is_name(option: object) -> bool:
    return isinstance(option, str)


def is_size(option: object) -> bool:
    return isinstance(option, Integral) and not isinstance(option, bool) and int(option) >= 1


def check_options(name: str, options: object, fits: Callable[[object], bool] = is_name) -> None:
    """Raises `ValueError` unless `options` is a tuple of one or more different strings (or sizes)."""
    if not isinstance(options, tuple) or not all(map(fits, options)) or not 0 < len(set(options)) == len(options):
        what = "strings" if fits is is_name else "ints of at least 1"
        raise ValueError(f"{name}: got {options!r}, expected a tuple of one or more different {what}")
