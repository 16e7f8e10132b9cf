"""The text forms in which papers publish architectures: text <-> (space, tokens).

    space, tokens = read_darts(DARTS_V2)
    write_darts(space, tokens) == DARTS_V2

Reading takes the space from the text's length and never evaluates anything. Bad text is a `ValueError` that points
at the place: a character, counted from 0, where the form is broken; a cell and node, such as `normal.2.0.input`,
where the form is right and the architecture is not. White space between numbers, names and signs has no meaning.
"""

import math
import re
from collections.abc import Callable
from typing import TypeVar

from naslab.spaces import (
    CellSpace,
    MacroSpace,
    Pairs,
    Space,
    Tokens,
    TreeSpace,
    darts_conv,
    darts_rnn,
    enas_micro,
    enas_rnn,
    nas_bench_201,
)

T = TypeVar("T")


class _Reader:
    """A place in a text."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ValueError(f"text: got {type(text).__name__}, expected str")
        self.text = text
        self.at = 0

    def maybe(self, pattern: str) -> str | None:
        """Skip white space, then move past the pattern and return what matched; None, unmoved, where it is not."""
        space = re.compile(r"\s*").match(self.text, self.at)
        self.at = space.end() if space else self.at
        found = re.compile(pattern).match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found[0] if found else None

    def take(self, pattern: str, expected: str) -> str:
        """Like `maybe`, but raises `ValueError` with the place where the pattern is not."""
        if (found := self.maybe(pattern)) is None:
            got = repr(self.text[self.at : self.at + 20]) if self.at < len(self.text) else "the end"
            raise ValueError(f"character {self.at}: got {got}, expected {expected}")
        return found

    def number(self) -> int:
        return int(self.take(r"[0-9]{1,9}(?![0-9])", "a number"))

    def listed(self, item: Callable[[], T]) -> list[T]:
        """[item, item, ...], a comma after the last allowed."""
        self.take(r"\[", "'['")
        found: list[T] = []
        while self.maybe(r"\]") is None:
            found.append(item())
            if self.maybe(",") is None:
                self.take(r"\]", "',' or ']'")
                break
        return found

    def end(self) -> None:
        self.take(r"\Z", "the end")


def _numbers(text: str) -> list[int]:
    """Numbers with white space between them."""
    reader = _Reader(text)
    found: list[int] = []
    while reader.maybe(r"\Z") is None:
        found.append(int(reader.take(r"[0-9]{1,9}(?!\S)", "a number")))
    return found


def _require(space: object, *published: Space) -> None:
    if space not in published:
        raise ValueError(f"space: got {space!r}, the form writes {' and '.join(map(repr, published))} only")


# DARTS: Genotype(normal=[('op', input), ...], normal_concat=[...], ...), Genotype(recurrent=[...], concat=...)


def read_darts(text: str) -> tuple[CellSpace, Tokens]:
    """A genotype as the DARTS authors' code prints it, of `darts_conv(n)` or `darts_rnn(n)`.

    The concatenated states, a list or a range, must be all nodes of the cell: the spaces have no other cells.
    """
    reader = _Reader(text)

    def pair() -> tuple[int, str]:
        reader.take(r"\(", "'('")
        op = reader.take(r"'[^'\\]*'|\"[^\"\\]*\"", "the name of an op in quotes")[1:-1]
        reader.take(",", "','")
        source = reader.number()
        reader.take(r"\)", "')'")
        return source, op

    def states() -> list[int] | range:
        if reader.maybe(r"range\b") is None:
            return reader.listed(reader.number)
        reader.take(r"\(", "'('")
        start = reader.number()
        reader.take(",", "','")
        stop = reader.number()
        reader.take(r"\)", "')'")
        return range(start, stop)

    def cell(name: str, concat: str, like: CellSpace) -> tuple[tuple[tuple[int, str], ...], ...]:
        reader.take(rf"{name}\s*=", f"'{name}='")
        begins, k = reader.at, like.fan_in or 1
        flat = reader.listed(pair)
        if not flat or len(flat) % k:
            raise ValueError(f"character {begins}: {name} has {len(flat)} pairs, expected {k} for each node")
        reader.take(",", "','")
        reader.take(rf"{concat}\s*=", f"'{concat}='")
        begins, found = reader.at, states()
        expected = range(like.inputs, like.inputs + len(flat) // k)
        if len(found) != len(expected) or list(found) != list(expected):
            raise ValueError(f"character {begins}: {concat} is {found}, expected all nodes: {list(expected)}")
        return tuple(tuple(flat[i : i + k]) for i in range(0, len(flat), k))

    reader.take(r"Genotype\b", "'Genotype'")
    reader.take(r"\(", "'('")
    cells: Pairs = {}
    if reader.maybe(r"(?=recurrent\b)") is not None:
        cells["recurrent"] = cell("recurrent", "concat", darts_rnn())
        space = darts_rnn(len(cells["recurrent"]))
    else:
        cells["normal"] = cell("normal", "normal_concat", darts_conv())
        reader.take(",", "','")
        begins = reader.at
        cells["reduce"] = cell("reduce", "reduce_concat", darts_conv())
        counts = [len(nodes) for nodes in cells.values()]
        if counts[0] != counts[1]:
            raise ValueError(f"character {begins}: reduce has {counts[1]} nodes, normal has {counts[0]}")
        space = darts_conv(counts[0])
    reader.maybe(",")
    reader.take(r"\)", "')'")
    reader.end()
    return space, space.tokens(cells)


def write_darts(space: CellSpace, tokens: Tokens) -> str:
    """The genotype as published: pairs in the string's order, convolutional states as a list, recurrent as a range."""
    nodes = getattr(space, "nodes", 4)
    _require(space, darts_conv(nodes), darts_rnn(nodes))
    states = range(space.inputs, space.inputs + nodes)
    fields = []
    for cell, chosen in space.pairs(tokens).items():
        flat = [(op, source) for node in chosen for source, op in node]
        concat = f"concat={states}" if cell == "recurrent" else f"{cell}_concat={[*states]}"
        fields.append(f"{cell}={flat}, {concat}")
    return f"Genotype({', '.join(fields)})"


# ENAS: numbers


def read_enas_micro(text: str) -> tuple[CellSpace, Tokens]:
    """The normal, then the reduction cell of `enas_micro(n)`: for every node input, op, input, op.

    Ops: 0 separable 3x3, 1 separable 5x5, 2 average pool, 3 max pool, 4 identity.
    """
    numbers = _numbers(text)
    nodes, rest = divmod(len(numbers), 8)
    if rest or not nodes:
        raise ValueError(f"text: got {len(numbers)} numbers, expected 2 cells of 4 for each node")
    space = enas_micro(nodes)
    return space, space.check(numbers)


def write_enas_micro(space: CellSpace, tokens: Tokens) -> str:
    """Two lines: the normal cell, the reduction cell."""
    nodes = getattr(space, "nodes", 5)
    _require(space, enas_micro(nodes))
    numbers = space.check(tokens)
    return "\n".join(" ".join(map(str, half)) for half in (numbers[: 4 * nodes], numbers[4 * nodes :]))


def read_enas_macro(text: str) -> tuple[MacroSpace, Tokens]:
    """`MacroSpace(n)` layer by layer: the op, then a bit for each earlier layer.

    Ops: 0 conv 3x3, 1 separable 3x3, 2 conv 5x5, 3 separable 5x5, 4 average pool, 5 max pool.
    """
    numbers = _numbers(text)
    layers = (math.isqrt(8 * len(numbers) + 1) - 1) // 2
    if not layers or layers * (layers + 1) // 2 != len(numbers):
        raise ValueError(f"text: got {len(numbers)} numbers, expected 1 + 2 + ... + n for n layers")
    space = MacroSpace(layers)
    return space, space.check(numbers)


def write_enas_macro(space: MacroSpace, tokens: Tokens) -> str:
    """A line for each layer."""
    layers = getattr(space, "layers", 12)
    _require(space, MacroSpace(layers))
    numbers = space.check(tokens)
    starts = [i * (i + 1) // 2 for i in range(layers + 1)]
    return "\n".join(" ".join(map(str, numbers[starts[i] : starts[i + 1]])) for i in range(layers))


def read_enas_rnn(text: str) -> tuple[CellSpace, Tokens]:
    """The cell of `enas_rnn(n)`, in either of the authors' forms. Functions: 0 tanh, 1 relu, 2 sigmoid, 3 identity.

    An even count of numbers: (input, function) for each node; input 0 is the state made of x_t and h_(t-1). An odd
    count, the older form: the first node's function alone, since its input is fixed, then (input, function) pairs
    whose inputs count the nodes from 0.
    """
    numbers = _numbers(text)
    if not numbers:
        raise ValueError("text: got no numbers")
    if len(numbers) % 2:
        numbers = [0, numbers[0]] + [n + 1 if k % 2 == 0 else n for k, n in enumerate(numbers[1:])]
    space = enas_rnn(len(numbers) // 2)
    return space, space.check(numbers)


def write_enas_rnn(space: CellSpace, tokens: Tokens, older: bool = False) -> str:
    """The newer form, or the `older`, which has no words for a later node that reads state 0: a `ValueError`."""
    _require(space, enas_rnn(getattr(space, "nodes", 12)))
    numbers = space.check(tokens)
    if older:
        for node, source in enumerate(numbers[2::2], start=2):
            if source == 0:
                raise ValueError(f"recurrent.{node}.0.input: got 0, which only the first node reads in the older form")
        numbers = (numbers[1], *(n - 1 if k % 2 == 0 else n for k, n in enumerate(numbers[2:])))
    return " ".join(map(str, numbers))


# NAS-Bench-201: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|


def read_nas_bench_201(text: str) -> tuple[CellSpace, Tokens]:
    """The cell string of NAS-Bench-201 (Dong & Yang 2020): node by node, for each earlier state, op~state."""
    space = nas_bench_201()
    reader = _Reader(text)
    nodes = []
    for target in range(1, 1 + space.nodes):
        if target > 1:
            reader.take(r"\+", "'+'")
        reader.take(r"\|", "'|'")
        node = []
        for source in range(target):
            node.append((source, reader.take(r"\w+", "the name of an op")))
            reader.take("~", "'~'")
            reader.take(rf"{source}\b", f"input {source}")
            reader.take(r"\|", "'|'")
        nodes.append(tuple(node))
    reader.end()
    return space, space.tokens({"cell": tuple(nodes)})


def write_nas_bench_201(space: CellSpace, tokens: Tokens) -> str:
    _require(space, nas_bench_201())
    return "+".join("|" + "".join(f"{op}~{source}|" for source, op in node) for node in space.pairs(tokens)["cell"])


# Trees: formulas

_ACTIVATION = {
    "identity": "{}",
    "tanh": r"\tanh({})",
    "sigmoid": r"\operatorname{{sigmoid}}({})",
    "relu": r"\operatorname{{ReLU}}({})",
    "sin": r"\sin({})",
}
_COMBINATION = {"add": "{} + {}", "elem_mult": r"{} \odot {}", "max": r"\max({}, {})"}


def _indexed(name: str, index: object) -> str:
    return f"{name}_{index}" if len(str(index)) == 1 else f"{name}_{{{index}}}"


def write_tree_latex(space: TreeSpace, tokens: Tokens) -> str:
    """The cell as formulas, an `aligned` block for MathJax: `IPython.display.Math(write_tree_latex(*FIGURE_5))`.

    Zoph & Le 2017, section 3.4: a line for each node, leaf i with W_(2i+1) and W_(2i+2); a' is the value a after
    c_(t-1) was injected, written before the line that reads it; then c_t and h_t. See `child.TreeCell`.
    """
    if not isinstance(space, TreeSpace):
        raise ValueError(f"space: got {space!r}, expected a TreeSpace")
    if unknown := [c for c in space.combine if c not in _COMBINATION]:
        raise ValueError(f"space: got combine {unknown}, expected functions among {sorted(_COMBINATION)}")
    if unknown := [a for a in space.activation if a not in _ACTIVATION]:
        raise ValueError(f"space: got activation {unknown}, expected functions among {sorted(_ACTIVATION)}")
    *functions, memory, inject = (d.options[t] for d, t in zip(space.decisions, space.check(tokens), strict=True))
    *nodes, (inject_combine, inject_activation) = zip(functions[::2], functions[1::2], strict=True)
    injection = _ACTIVATION[str(inject_activation)].format(
        _COMBINATION[str(inject_combine)].format(_indexed("a", inject), "c_{t-1}")
    )

    def read(*sources: int) -> list[str]:
        """What a reader of these nodes calls their values; the first to read the injected one defines it."""
        if inject in sources:
            lines.append(f"{_indexed('a', inject)}' &= {injection}")
        return [_indexed("a", source) + "'" * (source == inject) for source in sources]

    lines: list[str] = []
    for i, (combine, activation) in enumerate(nodes):
        if i >= space.base:
            operands = read(2 * (i - space.base), 2 * (i - space.base) + 1)
        else:
            operands = [f"{_indexed('W', 2 * i + 1)} x_t", f"{_indexed('W', 2 * i + 2)} h_{{t-1}}"]
            if combine == "elem_mult":
                operands = [f"({operand})" for operand in operands]
        before = _COMBINATION[str(combine)].format(*operands)
        if i == memory:
            c_t = before
        lines.append(f"{_indexed('a', i)} &= {_ACTIVATION[str(activation)].format(before)}")
    (h_t,) = read(space.nodes - 1)
    lines += [f"c_t &= {c_t}", f"h_t &= {h_t}"]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


# Published architectures.

# Liu et al. 2019, found with the first- and the second-order gradient; from the authors' code.
DARTS_V1 = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])"
)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
DARTS_V1_RNN = (
    "Genotype(recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1), "
    "('relu', 5), ('relu', 1)], concat=range(1, 9))"
)
DARTS_V2_RNN = (
    "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5), "
    "('tanh', 3), ('relu', 5)], concat=range(1, 9))"
)

# Pham et al. 2018, sections 3.1 and 3.2. The micro cells and the 24 layers that the authors retrain on CIFAR-10, from
# their scripts; the recurrent cell of their later language-model code and, in the older form, of their PTB script.
ENAS_MICRO = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1\n1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"
ENAS_MACRO = """\
0
3 0
0 1 0
2 0 0 1
2 0 0 0 0
3 1 1 0 1 0
2 0 0 0 0 0 1
2 0 1 1 0 1 1 1
1 0 1 1 1 0 1 0 1
0 0 0 0 0 0 0 0 0 0
2 0 0 0 0 0 1 0 0 0 0
0 1 0 0 1 1 0 0 0 0 1 1
2 0 1 0 0 0 0 0 1 0 1 1 0
1 0 0 1 0 0 0 1 1 1 0 1 0 1
0 1 1 0 1 0 1 0 0 0 0 0 1 0 0
2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0
2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1
3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1
0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0
0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0"""
ENAS_RNN = "0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2"
ENAS_RNN_OLDER = "0 0 0 1 1 2 1 2 0 2 0 5 1 1 0 6 1 8 1 8 1 8 1"

# Zoph & Le 2017: the example of figure 5, and the cell that their search found, from TensorFlow's code (NASCell).
FIGURE_5: tuple[TreeSpace, Tokens] = (TreeSpace(2), (0, 1, 1, 3, 1, 2, 0, 3, 1, 0))
NAS_CELL: tuple[TreeSpace, Tokens] = (
    TreeSpace(8),
    (
        *(0, 2, 0, 3, 0, 2, 1, 3, 0, 1, 0, 2, 0, 1, 0, 2),  # leaves
        *(1, 1, 0, 1, 1, 1, 0, 2),
        *(1, 0, 0, 1),
        *(1, 1),  # root
        *(0, 1, 12, 8),  # injection, cell indices
    ),
)
