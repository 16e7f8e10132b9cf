"""Search spaces as data: which decisions describe an architecture, and which weights they stand for.

An architecture is a corner of a polytope of mixing weights. `tokens`, a tuple of ints, names the corner;
`weights`, a table of non-negative numbers for each part of the space, is any point of the polytope. The last axis
of every table is a choice, so `softmax(-1)` relaxes any space:

    tokens --space.one_hot--> weights --space.discretise--> tokens

Sources: Zoph & Le 2017, sections 3.1, 3.3, 3.4 (`ConvSpace`, `TreeSpace`); Pham et al. 2018, sections "Designing
Convolutional Networks" (`MacroSpace`), "Designing Convolutional Cells" and "Designing Recurrent Cells" (`CellSpace`);
Liu et al. 2019, section 2 (`CellSpace`); Dong & Yang 2020 (NAS-Bench-201).
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Literal, Protocol

import torch
from torch import Tensor

from naslab import checks

Tokens = tuple[int, ...]
Weights = dict[str, Tensor]

NONE = "none"  # the op that is no connection (DARTS calls it zero)
ROUNDING = 0.01  # by how much a sum of weights may be wrong, relatively: in bfloat16 it is up to about 0.004


@dataclass(frozen=True)
class Decision:
    """One position of the string: a choice among `options`; a token is an index into them.

    `kind` names what is being chosen: a controller shares one embedding and one softmax head among all decisions of
    a kind. `anchors` are the positions of earlier decisions whose hidden states an attention reads: one per
    option for a pointer, one for a skip bit; -1 - k stands for the k-th input of a cell, which no decision made.
    `differs_from` are earlier positions whose tokens this one must not repeat. `row` is the place in the
    weight table named `kind` (unused by `CellSpace`, whose tables join inputs and ops).
    """

    name: str
    options: tuple[int | str, ...]
    kind: str
    row: tuple[int, ...] = ()
    anchors: tuple[int, ...] = ()
    differs_from: tuple[int, ...] = ()


class Space(Protocol):
    """What every algorithm knows of a space. All methods raise `ValueError` for what is not the space's."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The positions of the string, in order."""

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weight tables: name -> shape, whose last axis is a choice."""

    @property
    def size(self) -> int:
        """How many architectures there are."""

    @property
    def strings(self) -> int:
        """How many valid strings there are: what a controller can write."""

    def check(self, tokens: Iterable[int]) -> Tokens:
        """The tokens as a tuple of ints, if they are a string of the space."""

    def canonical(self, tokens: Iterable[int]) -> Tokens:
        """The one string that stands for all strings of the same architecture."""

    def sample(self, generator: torch.Generator) -> Tokens:
        """A uniformly random string."""

    def one_hot(self, tokens: Iterable[int], **like) -> Weights:
        """The corner that the tokens name, as tables; `like` passes on dtype and device."""

    def discretise(self, weights: Weights) -> Tokens:
        """The corner nearest to the weights, canonical. Weights are not alpha: `ValueError` without the softmax."""


def allowed(decision: Decision, tokens: Sequence[int]) -> Sequence[int]:
    """The tokens that `decision` may take after the earlier `tokens`, in order."""
    if not isinstance(decision, Decision):
        raise ValueError(f"decision: got {decision!r}, expected a Decision")
    every = range(len(decision.options))
    if not decision.differs_from:
        return every
    try:
        taken = {tokens[p] for p in decision.differs_from}
    except (TypeError, LookupError):
        raise ValueError(f"tokens: got {tokens!r}, expected the tokens before {decision.name}") from None
    return tuple(t for t in every if t not in taken)


def all_strings(space: Space) -> Iterator[Tokens]:
    """Every valid string of a space, in lexicographic order. For small spaces: there are `space.strings` of them."""
    decisions = getattr(space, "decisions", None)
    if not isinstance(decisions, tuple):
        raise ValueError(f"space: got {space!r}, expected a space")

    def longer(prefix: Tokens) -> Iterator[Tokens]:
        if len(prefix) == len(decisions):
            yield prefix
            return
        for token in allowed(decisions[len(prefix)], prefix):
            yield from longer((*prefix, token))

    return longer(())


# What the spaces have in common is written once, as functions of a space, and bound as methods in each class.


def _check(space: Space, tokens: Iterable[int]) -> Tokens:
    """The tokens as a tuple of ints. Raises `ValueError` with the decision's name, what it got and what it allows.

    What counts as an int, such as NumPy's, becomes one.
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
        try:
            token = int(operator.index(item))
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"{decision.name}: token {item!r} is not an int") from None
        if not 0 <= token < len(decision.options):
            raise ValueError(f"{decision.name}: token {token} is outside {_short(allowed(decision, checked))}")
        for p in decision.differs_from:
            if checked[p] == token:
                free = _short(allowed(decision, checked))
                raise ValueError(
                    f"{decision.name}: token {token} is taken by {space.decisions[p].name}, expected one of {free}"
                )
        checked.append(token)
    return tuple(checked)


def _short(values: Sequence[int]) -> str:
    if len(values) > 8 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]}..{values[-1]}"
    return str(tuple(values))


def _sample(space: Space, generator: torch.Generator) -> Tokens:
    """A uniformly random valid string. The generator lives on the CPU."""
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(f"generator: got {generator!r}, expected a torch.Generator on the CPU")
    tokens: Tokens = ()
    for decision in space.decisions:
        choices = allowed(decision, tokens)
        tokens += (choices[int(torch.randint(len(choices), (), generator=generator))],)
    return tokens


def _strings(space: Space) -> int:
    """How many valid strings there are: what a controller can write."""
    return math.prod(len(d.options) - len(d.differs_from) for d in space.decisions)


def _one_hot(space: Space, tokens: Iterable[int], **like) -> Weights:
    """The corner that the tokens name: 1 at every chosen option, 0 elsewhere. `like` passes on dtype and device."""
    weights = {table: torch.zeros(shape) for table, shape in space.tables.items()}
    for decision, token in zip(space.decisions, space.check(tokens), strict=True):
        weights[decision.kind][(*decision.row, token)] = 1.0
    return _converted(weights, like)


def _converted(weights: Weights, like: dict) -> Weights:
    """The tables with the dtype, of floats, and the device that `like` names."""
    try:
        found = {table: w.to(**like) for table, w in weights.items()}
    except (TypeError, RuntimeError):
        found = {}
    if not like.keys() <= {"dtype", "device"} or not all(w.is_floating_point() for w in found.values()) or not found:
        raise ValueError(f"like: got {like}, expected a dtype of floats, a device or both")
    return found


def _discretise(space: Space, weights: Weights) -> Tokens:
    """The nearest corner: the largest weight of every row; the first of equals."""
    point = _check_weights(space, weights)
    for d in space.decisions:
        _check_sum(d.kind, point[d.kind][d.row], 1, d.name)
    return tuple(int(point[d.kind][d.row].argmax()) for d in space.decisions)


def check_tables(space: Space, weights: Weights) -> None:
    """Raises `ValueError` for anything but the space's tables of floats."""
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


def _check_weights(space: Space, weights: Weights, largest: int = 1) -> Weights:
    """The tables in float64 on the CPU, if they are finite, not negative, and no row adds up to more than `largest`.

    So are the softmax of any alpha, every corner, and all between them; alpha itself is not.
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


def _check_sum(table: str, rows: Tensor, least: int, name: str) -> None:
    """The weights that one decision, or one node, chooses from leave it a choice."""
    if rows.sum() < least * (1 - ROUNDING):
        got = f"weights for {name} that add up to {rows.sum():.4g}"
        raise ValueError(f"weights: {table} has {got}, expected at least {least}; take alpha.softmax(-1) first")


def _is_name(option: object) -> bool:
    return isinstance(option, str)


def _is_size(option: object) -> bool:
    return isinstance(option, Integral) and not isinstance(option, bool) and int(option) >= 1


def _check_options(name: str, options: object, fits: Callable[[object], bool] = _is_name) -> None:
    """A tuple of one or more different strings, or sizes."""
    if not isinstance(options, tuple) or not all(map(fits, options)) or not 0 < len(set(options)) == len(options):
        what = "strings" if fits is _is_name else "ints of at least 1"
        raise ValueError(f"{name}: got {options!r}, expected a tuple of one or more different {what}")


def _check_flags(**values: object) -> None:
    for name, got in values.items():
        if not isinstance(got, bool):
            raise ValueError(f"{name}: got {got!r}, expected True or False")


def _skip_bits(layer: int, anchors: Sequence[int]) -> list[Decision]:
    return [Decision(f"{layer}.skip.{j}", (0, 1), "skip", (layer, j), (anchors[j],)) for j in range(layer)]


@dataclass(frozen=True)
class ConvSpace:
    """Convolutional networks layer by layer (Zoph & Le 2017, sections 3.1 and 3.3).

    Per layer: filter height, filter width, stride height, stride width, number of filters; with `pooling`, the size of
    a max pool after it, where 1 is none; then a skip bit for every earlier layer. One `skip` table of (layers, layers,
    2); every other kind has a table of (layers, options).
    """

    layers: int = 6
    heights: tuple[int, ...] = (1, 3, 5, 7)
    widths: tuple[int, ...] = (1, 3, 5, 7)
    strides: tuple[int, ...] = (1,)
    filters: tuple[int, ...] = (24, 36, 48, 64)
    skips: bool = True
    pooling: tuple[int, ...] = ()  # such as (1, 2); in the paper's experiment two layers pool, at fixed places

    def __post_init__(self) -> None:
        checks.whole(1, layers=self.layers)
        _check_flags(skips=self.skips)
        for name, options in self.attributes.items():
            _check_options(name, options, _is_size)
        checks.plain_fields(self)

    @property
    def attributes(self) -> dict[str, tuple[int, ...]]:
        """The decisions of a layer before its skip bits, in order: kind -> options."""
        chosen = {
            "filter_height": self.heights,
            "filter_width": self.widths,
            "stride_height": self.strides,
            "stride_width": self.strides,
            "filters": self.filters,
        }
        return chosen | ({"pool": self.pooling} if self.pooling != () else {})

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        found: list[Decision] = []
        anchors: list[int] = []  # per layer, the position of its last attribute
        for i in range(self.layers):
            found += [Decision(f"{i}.{kind}", o, kind, (i,)) for kind, o in self.attributes.items()]
            anchors.append(len(found) - 1)
            if self.skips:
                found += _skip_bits(i, anchors)
        return tuple(found)

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {k: (self.layers, len(o)) for k, o in self.attributes.items()}
        return shapes | ({"skip": (self.layers, self.layers, 2)} if self.skips else {})

    size = strings = property(_strings)
    check = canonical = _check
    sample = _sample
    one_hot = _one_hot
    discretise = _discretise


@dataclass(frozen=True)
class TreeSpace:
    """Recurrent cells as binary trees (Zoph & Le 2017, section 3.4 and figure 5).

    Nodes 0 to base - 1 are leaves and read x_t and h_(t-1); node base + i combines nodes 2i and 2i + 1; the last is
    the root. Per node a combination and an activation; then how c_(t-1) is injected; then two cell indices: the node
    whose value before activation becomes c_t, and the node into which c_(t-1) is injected. With base 8 these are
    15^2 8^16 = 6.3e16 strings, the paper's "approximately 6 x 10^16".
    """

    base: int = 8
    combine: tuple[str, ...] = ("add", "elem_mult")
    activation: tuple[str, ...] = ("identity", "tanh", "sigmoid", "relu")

    def __post_init__(self) -> None:
        checks.whole(1, base=self.base)
        checks.plain_fields(self)
        _check_options("combine", self.combine)
        _check_options("activation", self.activation)

    @property
    def nodes(self) -> int:
        return 2 * self.base - 1

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        found: list[Decision] = []
        for i in range(self.nodes):
            found.append(Decision(f"{i}.combine", self.combine, "combine", (i,)))
            found.append(Decision(f"{i}.activation", self.activation, "activation", (i,)))
        found.append(Decision("inject.combine", self.combine, "inject_combine", (0,)))
        found.append(Decision("inject.activation", self.activation, "inject_activation", (0,)))
        places = tuple(range(self.nodes))
        return (*found, *(Decision(f"cell_index.{k}", places, "cell_index", (k,)) for k in range(2)))

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {
            "combine": (self.nodes, len(self.combine)),
            "activation": (self.nodes, len(self.activation)),
            "inject_combine": (1, len(self.combine)),
            "inject_activation": (1, len(self.activation)),
            "cell_index": (2, self.nodes),
        }

    size = strings = property(_strings)
    check = canonical = _check
    sample = _sample
    one_hot = _one_hot
    discretise = _discretise


@dataclass(frozen=True)
class MacroSpace:
    """Whole convolutional networks from a few ops (Pham et al. 2018, Designing Convolutional Networks).

    Per layer: an op, then a skip bit for every earlier layer. K^L 2^(L(L-1)/2) strings. Tables `op` of (L, K) and
    `skip` of (L, L, 2), whose entry [i, j, 1] is the weight of "layer i also reads layer j".
    """

    layers: int = 12
    ops: tuple[str, ...] = (
        "conv_3x3",
        "sep_conv_3x3",
        "conv_5x5",
        "sep_conv_5x5",
        "avg_pool_3x3",
        "max_pool_3x3",
    )  # in the order of the authors' strings

    def __post_init__(self) -> None:
        checks.whole(1, layers=self.layers)
        _check_options("ops", self.ops)
        checks.plain_fields(self)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        found: list[Decision] = []
        anchors: list[int] = []  # per layer, the position of its op
        for i in range(self.layers):
            anchors.append(len(found))
            found.append(Decision(f"{i}.op", self.ops, "op", (i,)))
            found += _skip_bits(i, anchors)
        return tuple(found)

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {"op": (self.layers, len(self.ops)), "skip": (self.layers, self.layers, 2)}

    size = strings = property(_strings)
    check = canonical = _check
    sample = _sample
    one_hot = _one_hot
    discretise = _discretise


Nodes = tuple[tuple[tuple[int, str], ...], ...]  # of a cell: per node its (source state, op name) pairs
Pairs = dict[str, Nodes]


@dataclass(frozen=True)
class CellSpace:
    """Cells, repeated to a network: ENAS micro and recurrent, DARTS convolutional and recurrent, NAS-Bench-201.

    A cell is a small graph. States 0 to inputs - 1 are its inputs; every further state, a node, adds up what
    its incoming edges carry. With `fan_in` = k a node takes k pairs (input, op) (Pham et al. 2018, Designing
    Convolutional Cells; Liu et al. 2019, section 2.4), from different states if `distinct`; with `fan_in=None` every
    edge carries an op (NAS-Bench-201). The op "none" can be chosen only in the latter case: a node that picks its
    inputs has no use for it, yet it keeps its column in the tables, where it takes part in the softmax.

    One table of (edges, ops) per cell; edges are ordered by target, then source. `output` says which states leave the
    cell: "all" nodes, the "loose" ends that no other node reads, or the "last" node.
    """

    cells: tuple[str, ...]
    nodes: int
    inputs: int
    ops: tuple[str, ...]
    fan_in: int | None
    distinct: bool = True
    output: Literal["all", "loose", "last"] = "all"

    def __post_init__(self) -> None:
        checks.whole(1, nodes=self.nodes, inputs=self.inputs)
        _check_options("cells", self.cells)
        _check_options("ops", self.ops)
        _check_flags(distinct=self.distinct)
        if self.output not in ("all", "loose", "last"):
            raise ValueError(f"output: got {self.output!r}, expected 'all', 'loose' or 'last'")
        if self.fan_in is not None:
            checks.whole(1, fan_in=self.fan_in)
            _check_options("ops other than none", self.choices)
            if self.distinct and self.fan_in > self.inputs:
                raise ValueError(f"fan_in: got {self.fan_in}, the first node has only {self.inputs} distinct inputs")
        checks.plain_fields(self)

    @property
    def choices(self) -> tuple[str, ...]:
        """The ops that a string can name."""
        return self.ops if self.fan_in is None else tuple(op for op in self.ops if op != NONE)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(source, target) of every row of a table; states are counted from the cell's inputs."""
        targets = range(self.inputs, self.inputs + self.nodes)
        return tuple((source, target) for target in targets for source in range(target))

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        found: list[Decision] = []
        for cell in self.cells:
            if self.fan_in is None:
                found += [Decision(f"{cell}.{target}.{source}.op", self.ops, "op") for source, target in self.edges]
                continue
            anchors = [-1 - k for k in range(self.inputs)]  # per state
            for target in range(self.inputs, self.inputs + self.nodes):
                sources = tuple(range(target))
                pointers: list[int] = []
                for k in range(self.fan_in):
                    differs = tuple(pointers) if self.distinct else ()
                    pointers.append(len(found))
                    name = f"{cell}.{target}.{k}"
                    found.append(Decision(f"{name}.input", sources, "input", (), tuple(anchors), differs))
                    found.append(Decision(f"{name}.op", self.choices, "op"))
                anchors.append(len(found) - 1)
        return tuple(found)

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {cell: (len(self.edges), len(self.ops)) for cell in self.cells}

    @property
    def size(self) -> int:
        """How many architectures there are, the order of a node's pairs set aside (isomorphic cells count apart)."""
        if self.fan_in is None:
            return self.strings
        k, n = self.fan_in, len(self.choices)
        per_node = [
            math.comb(sources, k) * n**k if self.distinct else math.comb(sources * n + k - 1, k)
            for sources in range(self.inputs, self.inputs + self.nodes)
        ]
        return math.prod(per_node) ** len(self.cells)

    strings = property(_strings)
    check = _check
    sample = _sample

    def pairs(self, tokens: Iterable[int]) -> Pairs:
        """The string by cell and node: for every node its (source state, op name) pairs, in the string's order."""
        flat = iter(self.check(tokens))
        found: Pairs = {}
        for cell in self.cells:
            nodes = []
            for target in range(self.inputs, self.inputs + self.nodes):
                if self.fan_in is None:
                    nodes.append(tuple((source, self.ops[next(flat)]) for source in range(target)))
                else:
                    nodes.append(tuple((next(flat), self.choices[next(flat)]) for _ in range(self.fan_in)))
            found[cell] = tuple(nodes)
        return found

    def tokens(self, pairs: Pairs) -> Tokens:
        """The inverse of `pairs`. Raises `ValueError` where a source, an op or the shape is not the space's."""
        flat: list[int] = []
        if not isinstance(pairs, dict) or pairs.keys() != set(self.cells):
            raise ValueError(f"pairs: got {pairs!r}, expected a dict of the cells {self.cells}")
        for cell in self.cells:
            try:
                nodes = [[(source, op) for source, op in node] for node in pairs[cell]]
            except (TypeError, ValueError):
                raise ValueError(f"{cell}: got {pairs[cell]!r}, expected nodes of (source, op) pairs") from None
            if len(nodes) != self.nodes:
                raise ValueError(f"{cell}: got {len(nodes)} nodes, the space has {self.nodes}")
            for target, node in enumerate(nodes, start=self.inputs):
                if len(node) != (self.fan_in or target):
                    raise ValueError(f"{cell}.{target}: got {len(node)} pairs, expected {self.fan_in or target}")
                for k, (source, op) in enumerate(node):
                    if op not in self.choices:
                        raise ValueError(f"{cell}.{target}.{k}.op: got {op!r}, expected one of {self.choices}")
                    if self.fan_in is None and source != k:
                        raise ValueError(f"{cell}.{target}.{k}.input: got {source!r}, expected {k}")
                    flat += [self.choices.index(op)] if self.fan_in is None else [source, self.choices.index(op)]
        return self.check(flat)

    def leaving(self, nodes: Nodes) -> tuple[int, ...]:
        """The states that make a cell's output, of a cell as `pairs` has it.

        Loose ends are nodes that no node reads (Pham et al. 2018, Designing Convolutional Cells). The authors' code
        also lets an input leave that no node reads; here inputs never do.
        """
        states = tuple(range(self.inputs, self.inputs + self.nodes))
        if self.output == "last":
            return states[-1:]
        try:
            read = {source for node in nodes for source, op in node if op != NONE} if self.output == "loose" else set()
        except (TypeError, ValueError):
            raise ValueError(f"nodes: got {nodes!r}, expected nodes of (source, op) pairs") from None
        return tuple(state for state in states if state not in read)

    def canonical(self, tokens: Iterable[int]) -> Tokens:
        """The same architecture with every node's pairs sorted by input, then op."""
        order = self.choices.index
        pairs = self.pairs(tokens)
        return self.tokens(
            {c: tuple(tuple(sorted(n, key=lambda p: (p[0], order(p[1])))) for n in nodes) for c, nodes in pairs.items()}
        )

    def one_hot(self, tokens: Iterable[int], **like) -> Weights:
        """The corner: entry [edge, op] counts how often the string puts the op on the edge (2 for a repeated pair)."""
        weights = {table: torch.zeros(shape) for table, shape in self.tables.items()}
        for cell, nodes in self.pairs(tokens).items():
            for target, node in enumerate(nodes, start=self.inputs):
                for source, op in node:
                    weights[cell][self.edges.index((source, target)), self.ops.index(op)] += 1.0
        return _converted(weights, like)

    def discretise(self, weights: Weights) -> Tokens:
        """The corner that keeps the strongest (input, op) pairs of every node, "none" left out; canonical.

        Liu et al. 2019, section 2.4. Without `distinct`, taking a pair lowers its weight by 1, so that a pair is
        taken twice only where the table says 2. Raises `ValueError` for what is neither the softmax of an alpha nor a
        corner nor between them, such as alpha itself.
        """
        point = _check_weights(self, weights, 1 if self.distinct else self.fan_in or 1)
        columns = [self.ops.index(op) for op in self.choices]
        found: Pairs = {}
        for cell in self.cells:
            nodes = []
            for target in range(self.inputs, self.inputs + self.nodes):
                first = self.edges.index((0, target))
                rows = point[cell][first : first + target]  # (sources, ops)
                _check_sum(cell, rows, min(self.fan_in or target, target), f"node {target}")
                strength = rows[:, columns]  # (sources, choices), a copy
                if self.fan_in is None:
                    nodes.append(tuple((s, self.choices[int(row.argmax())]) for s, row in enumerate(strength)))
                    continue
                node = []
                for _ in range(self.fan_in):
                    source, op = divmod(int(strength.argmax()), len(columns))
                    node.append((source, self.choices[op]))
                    if self.distinct:
                        strength[source] = -math.inf
                    else:
                        strength[source, op] -= 1.0
                nodes.append(tuple(node))
            found[cell] = tuple(nodes)
        return self.canonical(self.tokens(found))


DARTS_OPS = (
    NONE,
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


def darts_conv(nodes: int = 4) -> CellSpace:
    """DARTS convolutional cells: 1,037,664,180 each (Liu et al. 2019, appendix, complexity analysis)."""
    return CellSpace(("normal", "reduce"), nodes, inputs=2, ops=DARTS_OPS, fan_in=2)


def darts_rnn(nodes: int = 8) -> CellSpace:
    """DARTS recurrent cell; state 0 is made of x_t and h_(t-1) by a fixed tanh (Liu et al. 2019, section 3.1.2)."""
    return CellSpace(("recurrent",), nodes, inputs=1, ops=(NONE, "tanh", "relu", "sigmoid", "identity"), fan_in=1)


def nasnet(nodes: int = 5) -> CellSpace:
    """Cells of the kind of NASNet and AmoebaNet, with the ops that the DARTS authors' code has for both.

    Two pairs per node, which may be equal; loose ends leave (Zoph et al. 2018; Real et al. 2019).
    """
    ops = (*DARTS_OPS[1:], "sep_conv_7x7", "conv_7x1_1x7")
    return CellSpace(("normal", "reduce"), nodes, inputs=2, ops=ops, fan_in=2, distinct=False, output="loose")


def enas_micro(nodes: int = 5) -> CellSpace:
    """ENAS micro cells: two pairs per node, which may be equal; B = nodes + 2.

    Pham et al. 2018, Designing Convolutional Cells. Two pairs for each node make (5^(B-2) (B-1)!)^2 = 5.06e12 strings a
    cell. The paper counts (5 (B-2)!)^2 = 3.6e5: the five lacks its exponent, and the factorial gives the first node one
    input to choose from where it has two.
    """
    ops = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect")  # the strings' order
    return CellSpace(("normal", "reduce"), nodes, inputs=2, ops=ops, fan_in=2, distinct=False, output="loose")


def enas_rnn(nodes: int = 12) -> CellSpace:
    """ENAS recurrent cell (Pham et al. 2018, Designing Recurrent Cells); state 0 is made of x_t and h_(t-1).

    4^N N! strings, the paper's count. Read literally, node 1 has no choice of input and the others read only
    nodes: 4^N (N - 1)!, the strings whose later nodes never point at state 0.
    """
    ops = ("tanh", "relu", "sigmoid", "identity")  # in the order of the authors' strings
    return CellSpace(("recurrent",), nodes, inputs=1, ops=ops, fan_in=1, output="loose")


def nas_bench_201() -> CellSpace:
    """The 15,625 cells of NAS-Bench-201: 4 states, an op on each of the 6 edges (Dong & Yang 2020, section 2.1)."""
    ops = (NONE, "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    return CellSpace(("cell",), nodes=3, inputs=1, ops=ops, fan_in=None, output="last")
