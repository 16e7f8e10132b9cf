"""ENAS: numbers, in lines for cells and layers."""

import math

from naslab.genotypes.reading import read_numbers, require
from naslab.spaces import CellSpace, MacroSpace, Tokens, enas_micro, enas_rnn


def read_enas_micro(text: str) -> tuple[CellSpace, Tokens]:
    """The normal, then the reduction cell of `enas_micro(n)`: for every node input, op, input, op.

    Ops: 0 separable 3x3, 1 separable 5x5, 2 average pool, 3 max pool, 4 identity.
    """
    numbers = read_numbers(text)
    nodes, rest = divmod(len(numbers), 8)
    if rest or not nodes:
        raise ValueError(f"text: got {len(numbers)} numbers, expected 2 cells of 4 for each node")
    space = enas_micro(nodes)
    return space, space.check(numbers)


def write_enas_micro(space: CellSpace, tokens: Tokens) -> str:
    """Two lines: the normal cell, the reduction cell."""
    nodes = getattr(space, "nodes", 5)
    require(space, enas_micro(nodes))
    numbers = space.check(tokens)
    return "\n".join(" ".join(map(str, half)) for half in (numbers[: 4 * nodes], numbers[4 * nodes :]))


def read_enas_macro(text: str) -> tuple[MacroSpace, Tokens]:
    """`MacroSpace(n)` layer by layer: the op, then a bit for each earlier layer.

    Ops: 0 conv 3x3, 1 separable 3x3, 2 conv 5x5, 3 separable 5x5, 4 average pool, 5 max pool.
    """
    numbers = read_numbers(text)
    layers = (math.isqrt(8 * len(numbers) + 1) - 1) // 2
    if not layers or layers * (layers + 1) // 2 != len(numbers):
        raise ValueError(f"text: got {len(numbers)} numbers, expected 1 + 2 + ... + n for n layers")
    space = MacroSpace(layers)
    return space, space.check(numbers)


def write_enas_macro(space: MacroSpace, tokens: Tokens) -> str:
    """A line for each layer."""
    layers = getattr(space, "layers", 12)
    require(space, MacroSpace(layers))
    numbers = space.check(tokens)
    starts = [i * (i + 1) // 2 for i in range(layers + 1)]
    return "\n".join(" ".join(map(str, numbers[starts[i] : starts[i + 1]])) for i in range(layers))


def read_enas_rnn(text: str) -> tuple[CellSpace, Tokens]:
    """The cell of `enas_rnn(n)`, in either of the authors' forms. Functions: 0 tanh, 1 relu, 2 sigmoid, 3 identity.

    An even count of numbers: (input, function) for each node; input 0 is the state made of x_t and h_(t-1). An odd
    count, the older form: the first node's function alone, since its input is fixed, then (input, function) pairs
    whose inputs count the nodes from 0.
    """
    numbers = read_numbers(text)
    if not numbers:
        raise ValueError("text: got no numbers")
    if len(numbers) % 2:
        numbers = [0, numbers[0]] + [n + 1 if k % 2 == 0 else n for k, n in enumerate(numbers[1:])]
    space = enas_rnn(len(numbers) // 2)
    return space, space.check(numbers)


def write_enas_rnn(space: CellSpace, tokens: Tokens, older: bool = False) -> str:
    """The newer form, or the `older`, which has no words for a later node that reads state 0: a `ValueError`."""
    require(space, enas_rnn(getattr(space, "nodes", 12)))
    numbers = space.check(tokens)
    if older:
        for node, source in enumerate(numbers[2::2], start=2):
            if source == 0:
                raise ValueError(f"recurrent.{node}.0.input: got 0, which only the first node reads in the older form")
        numbers = (numbers[1], *(n - 1 if k % 2 == 0 else n for k, n in enumerate(numbers[2:])))
    return " ".join(map(str, numbers))
