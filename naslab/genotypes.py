"""The text forms in which papers publish architectures: text <-> (space, tokens).

    space, tokens = read_darts(DARTS_V2)
    write_darts(space, tokens) == DARTS_V2

Reading takes the space from the text, which it never evaluates. Bad text is a `ValueError` that points
at the place: a character, counted from 0, where the form is broken; a cell and node, such as `normal.2.0.input`,
where the form is right and the architecture is not. White space between numbers, names and signs has no meaning.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from naslab.spaces import (
    CellSpace,
    MacroSpace,
    Nodes,
    Pairs,
    Space,
    Tokens,
    TreeSpace,
    darts_conv,
    darts_rnn,
    enas_micro,
    enas_rnn,
    nas_bench_201,
    nasnet,
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
    """Numbers with white space or commas between them, in brackets or not: as typed, or as Python or NumPy prints."""
    reader = _Reader(text)
    found: list[int] = []
    depth = 0
    while reader.maybe(r"\Z") is None:
        if reader.maybe(r"\["):
            depth += 1
        elif depth and reader.maybe(r"\],?"):
            depth -= 1
        else:
            found.append(int(reader.take(r"[0-9]{1,9}(?![^\s,\]])", "a number")))
            reader.maybe(",")
    if depth:
        reader.take(r"\]", "']'")
    return found


def _require(space: object, *published: Space) -> None:
    if space not in published:
        raise ValueError(f"space: got {space!r}, the form writes {' and '.join(map(repr, published))} only")


# DARTS: Genotype(normal=[('op', input), ...], normal_concat=[...], ...), Genotype(recurrent=[...], concat=...)

_NAME = r"[^'\"\\]*"  # of an op, between quotes


def _concat(cell: str) -> str:
    return "concat" if cell == "recurrent" else f"{cell}_concat"


def read_darts(text: str, space: CellSpace | None = None) -> tuple[CellSpace, Tokens]:
    """A genotype as the DARTS authors' code prints it, alone or after `name =` as in a file or a log.

    The pairs of a node may stand in a list of their own. Without a `space`, normal and reduction cells are those of
    `darts_conv(n)`, a recurrent cell that of `darts_rnn(n)`. Where the concatenated states, a list or a range, leave
    out exactly the nodes that others read, the space is `nasnet(n)` or `enas_rnn(n)`. Other concatenations belong to no
    space. A space of one's own, with its own ops and cells, is given: the text does not say which ops it has.
    """
    reader = _Reader(text)
    reader.maybe(r"[^()\[\]'\"]*=\s*(?=Genotype\b)")
    reader.take(r"Genotype\b", "'Genotype'")
    reader.take(r"\(", "'('")
    cells: dict[str, _Cell] = {}
    while not cells or reader.maybe(",") is not None:
        if cells and reader.maybe(r"(?=\))") is not None:
            break
        name = reader.take(r"\w+", "the name of a cell")
        if name in cells:
            raise ValueError(f"text: got the cell {name} twice")
        cells[name] = _Cell(reader, name)
    reader.take(r"\)", "')'")
    reader.end()

    if not isinstance(space, CellSpace | None):
        raise ValueError(f"space: got {space!r}, expected a CellSpace or None")
    given, space = space is not None, space or _published(cells)
    if tuple(cells) != space.cells:
        raise ValueError(f"text: got the cells {tuple(cells)}, expected {space.cells}")
    pairs: Pairs = {name: cell.nodes(space) for name, cell in cells.items()}
    for name, cell in cells.items():
        leaving = space.leaving(pairs[name])
        if not cell.ends_in(leaving):
            loose = replace(space, output="loose").leaving(pairs[name])
            expected = f"the states that leave a cell of the space, {[*leaving]}"
            if not given:
                expected = f"all nodes, {[*leaving]}, or those that no node reads, {[*loose]}"
            raise ValueError(f"character {cell.concat_at}: {_concat(name)} is {cell.concat}, expected {expected}")
    return space, space.tokens(pairs)


class _Cell:
    """One cell of a genotype, read from behind its name: its pairs, and the states that are concatenated."""

    def __init__(self, reader: _Reader, name: str) -> None:
        self.reader, self.name = reader, name
        reader.take("=", "'='")
        self.at = reader.at
        self.nested = reader.maybe(r"(?=\[\s*\[)") is not None
        self.lists: list[list[tuple[int, str]]]  # one for each node if nested, else one of all pairs
        self.lists = reader.listed(self._pairs) if self.nested else [self._pairs()]
        reader.take(",", "','")
        reader.take(rf"{_concat(name)}\s*=", f"'{_concat(name)}='")
        self.concat_at = reader.at
        self.concat = self._states()

    def _pairs(self) -> list[tuple[int, str]]:
        return self.reader.listed(self._pair)

    def _pair(self) -> tuple[int, str]:
        self.reader.take(r"\(", "'('")
        op = self.reader.take(rf"'{_NAME}'|\"{_NAME}\"", "the name of an op in quotes")[1:-1]
        self.reader.take(",", "','")
        source = self.reader.number()
        self.reader.take(r"\)", "')'")
        return source, op

    def _states(self) -> list[int] | range:
        if self.reader.maybe(r"range\b") is None:
            return self.reader.listed(self.reader.number)
        self.reader.take(r"\(", "'('")
        start = self.reader.number()
        self.reader.take(",", "','")
        stop = self.reader.number()
        self.reader.take(r"\)", "')'")
        return range(start, stop)

    def count(self, fan_in: int) -> int:
        """How many nodes there are, if each has so many pairs."""
        if self.nested:
            return len(self.lists)
        nodes, rest = divmod(len(self.lists[0]), fan_in)
        if rest or not nodes:
            raise ValueError(
                f"character {self.at}: {self.name} has {len(self.lists[0])} pairs, expected {fan_in} for each node"
            )
        return nodes

    def nodes(self, space: CellSpace) -> Nodes:
        """The pairs by node."""
        if self.nested:
            return tuple(map(tuple, self.lists))
        sizes = [space.fan_in or target for target in range(space.inputs, space.inputs + space.nodes)]
        if len(self.lists[0]) != sum(sizes):
            raise ValueError(
                f"character {self.at}: {self.name} has {len(self.lists[0])} pairs, the space has {sum(sizes)}"
            )
        flat = iter(self.lists[0])
        return tuple(tuple(next(flat) for _ in range(size)) for size in sizes)

    def ends_in(self, states: Sequence[int]) -> bool:
        return len(self.concat) == len(states) and list(self.concat) == list(states)


def _published(cells: dict[str, _Cell]) -> CellSpace:
    """The space of the DARTS authors, or the one of loose ends if the cells are of that and not of the former."""
    if tuple(cells) not in (("normal", "reduce"), ("recurrent",)):
        raise ValueError(f"text: got the cells {tuple(cells)}, expected ('normal', 'reduce') or ('recurrent',)")
    fan_in = len(cells)
    (nodes, *others) = [cell.count(fan_in) for cell in cells.values()]
    if others not in ([], [nodes]):
        raise ValueError(f"character {cells['reduce'].at}: reduce has {others[0]} nodes, normal has {nodes}")
    darts, loose = (darts_conv(nodes), nasnet(nodes)) if fan_in == 2 else (darts_rnn(nodes), enas_rnn(nodes))

    def fits(space: CellSpace) -> bool:
        return all(
            cell.ends_in(space.leaving(cell.nodes(space)))
            and all(op in space.choices for node in cell.nodes(space) for _, op in node)
            for cell in cells.values()
        )

    return loose if not fits(darts) and fits(loose) else darts


def write_darts(space: CellSpace, tokens: Tokens) -> str:
    """The genotype as published: pairs in the string's order, convolutional states as a list, recurrent as a range.

    Writes every `CellSpace` whose names the form can hold; `read_darts(text, space)` reads it back.
    """
    if not isinstance(space, CellSpace):
        raise ValueError(f"space: got {space!r}, expected a CellSpace")
    for cell in space.cells:
        if not re.fullmatch(r"\w+", cell):
            raise ValueError(f"cells: got {cell!r}, the form has names of letters, digits and _")
    for op in space.ops:
        if not re.fullmatch(_NAME, op) or not op.isprintable():
            raise ValueError(f"ops: got {op!r}, the form has printable names without quotes and backslashes")
    fields = []
    for cell, chosen in space.pairs(tokens).items():
        flat = [(op, source) for node in chosen for source, op in node]
        states = space.leaving(chosen)
        whole = cell == "recurrent" and space.output == "all"
        fields.append(f"{cell}={flat}, {_concat(cell)}={range(states[0], states[-1] + 1) if whole else [*states]}")
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
    """The cell string of NAS-Bench-201 (Dong & Yang 2020): node by node, for each earlier state, op~state.

    Also as the authors' code prints it: `Structure(4 nodes with |op~0|+...)`.
    """
    space = nas_bench_201()
    reader = _Reader(text)
    printed = reader.maybe(r"\w+\s*\(\s*4\s+nodes\s+with\b") is not None
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
    if printed:
        reader.take(r"\)", "')'")
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

# Zoph et al. 2018 and Real et al. 2019, as the DARTS authors' code compares with them.
NASNET = (
    "Genotype(normal=[('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), ('sep_conv_3x3', 0), "
    "('avg_pool_3x3', 1), ('skip_connect', 0), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 1)], normal_concat=[2, 3, 4, 5, 6], reduce=[('sep_conv_5x5', 1), ('sep_conv_7x7', 0), "
    "('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 0), ('skip_connect', 3), "
    "('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1)], reduce_concat=[4, 5, 6])"
)
AMOEBANET = (
    "Genotype(normal=[('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 2), "
    "('sep_conv_3x3', 0), ('avg_pool_3x3', 3), ('sep_conv_3x3', 1), ('skip_connect', 1), ('skip_connect', 0), "
    "('avg_pool_3x3', 1)], normal_concat=[4, 5, 6], reduce=[('avg_pool_3x3', 0), ('sep_conv_3x3', 1), "
    "('max_pool_3x3', 0), ('sep_conv_7x7', 2), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('conv_7x1_1x7', 0), ('sep_conv_3x3', 5)], reduce_concat=[3, 4, 6])"
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
