"""ENAS: numbers separated by spaces, one line per cell or layer."""

import math

from naslab.genotypes.reading import read_numbers, require
from naslab.spaces import CellSpace, MacroSpace, Tokens, enas_micro, enas_rnn


def read_enas_micro(text: str) -> tuple[CellSpace, Tokens]:
    """Reads the normal cell and then the reduction cell of `enas_micro(n)`: input, op, input, op for every node.

    Ops: 0 separable 3x3, 1 separable 5x5, 2 average pool, 3 max pool, 4 identity.
    """
    numbers = read_numbers(text)
    nodes, rest = divmod(len(numbers), 8)
    if rest or not nodes:
        raise ValueError(f"text: got {len(numbers)} numbers, expected 2 cells of 4 for each node")
    space = enas_micro(nodes)
    return space, space.check(numbers)


def write_enas_micro(space: CellSpace, tokens: Tokens) -> str:
    """Writes two lines: the normal cell, then the reduction cell."""
    nodes = getattr(space, "nodes", 5)
    require(space, enas_micro(nodes))
    numbers = space.check(tokens)
    return "\n".join(" ".join(map(str, half)) for half in (numbers[: 4 * nodes], numbers[4 * nodes :]))


def read_enas_macro(text: str) -> tuple[MacroSpace, Tokens]:
    """Reads a string of `MacroSpace(n)`, layer by layer: the op, then a skip bit for each earlier layer.

    Ops: 0 conv 3x3, 1 separable 3x3, 2 conv 5x5, 3 separable 5x5, 4 average pool, 5 max pool.
    """
    numbers = read_numbers(text)
    layers = (math.isqrt(8 * len(numbers) + 1) - 1) // 2
    if not layers or layers * (layers + 1) // 2 != len(numbers):
        raise ValueError(f"text: got {len(numbers)} numbers, expected 1 + 2 + ... + n for n layers")
    space = MacroSpace(layers)
    return space, space.check(numbers)


def write_enas_macro(space: MacroSpace, tokens: Tokens) -> str:
    """Writes one line per layer."""
    layers = getattr(space, "layers", 12)
    require(space, MacroSpace(layers))
    numbers = space.check(tokens)
    starts = [i * (i + 1) // 2 for i in range(layers + 1)]
    return "\n".join(" ".join(map(str, numbers[starts[i] : starts[i + 1]])) for i in range(layers))


def read_enas_rnn(text: str) -> tuple[CellSpace, Tokens]:
    """Reads the cell of `enas_rnn(n)` in either form of the authors. Functions: 0 tanh, 1 relu, 2 sigmoid, 3 identity.

    An even count of numbers is the newer form: a pair (input, function) for each node, where input 0 is the state
    computed from x_t and h_(t-1). An odd count is the older form: the function of the first node, whose input is fixed,
    and then a pair (input, function) for each further node. The older form numbers the nodes from 0.
    """
    numbers = read_numbers(text)
    if not numbers:
        raise ValueError("text: got no numbers")
    if len(numbers) % 2:
        numbers = [0, numbers[0]] + [n + 1 if k % 2 == 0 else n for k, n in enumerate(numbers[1:])]
    space = enas_rnn(len(numbers) // 2)
    return space, space.check(numbers)


def write_enas_rnn(space: CellSpace, tokens: Tokens, older: bool = False) -> str:
    """Writes the newer form, or with `older` the older one.

    The older form cannot express that a node after the first reads state 0: this raises `ValueError`.
    """
    require(space, enas_rnn(getattr(space, "nodes", 12)))
    numbers = space.check(tokens)
    if older:
        for node, source in enumerate(numbers[2::2], start=2):
            if source == 0:
                raise ValueError(f"recurrent.{node}.0.input: got 0, but only node 1 can read 0 in the older form")
        numbers = (numbers[1], *(n - 1 if k % 2 == 0 else n for k, n in enumerate(numbers[2:])))
    return " ".join(map(str, numbers))
