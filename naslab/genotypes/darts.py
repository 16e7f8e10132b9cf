"""DARTS: Genotype(normal=[('op', input), ...], normal_concat=[...], ...), Genotype(recurrent=[...], concat=...)."""

import re
from collections.abc import Sequence
from dataclasses import replace

from naslab.genotypes.reading import Reader
from naslab.spaces import CellSpace, Nodes, Pairs, Tokens, darts_conv, darts_rnn, enas_rnn, nasnet

_NAME = r"[^'\"\\]*"  # the name of an op, between quotes


def _concat(cell: str) -> str:
    return "concat" if cell == "recurrent" else f"{cell}_concat"


def read_darts(text: str, space: CellSpace | None = None) -> tuple[CellSpace, Tokens]:
    """Reads a genotype as the DARTS authors' code prints it. `name =` may stand before it, as in a file or a log.

    The pairs of a cell are one list, or one list per node. The concatenated states are a list or a range.

    Without `space`, the space is `darts_conv(n)` for normal and reduction cells, and `darts_rnn(n)` for a recurrent
    cell. If the concatenation has exactly the nodes that no other node reads, the space is `nasnet(n)` or
    `enas_rnn(n)`. Any other concatenation raises `ValueError`. For your own space pass `space`, because the text does
    not list the ops that the space offers.
    """
    reader = Reader(text)
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
    """Reads one cell of a genotype, starting after its name: its pairs and its concatenated states."""

    def __init__(self, reader: Reader, name: str) -> None:
        self.reader, self.name = reader, name
        reader.take("=", "'='")
        self.at = reader.at
        self.nested = reader.maybe(r"(?=\[\s*\[)") is not None
        self.lists: list[list[tuple[int, str]]]  # one list per node if nested, else one list of all pairs
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
        """Returns the number of nodes, given that each node has `fan_in` pairs."""
        if self.nested:
            return len(self.lists)
        nodes, rest = divmod(len(self.lists[0]), fan_in)
        if rest or not nodes:
            raise ValueError(
                f"character {self.at}: {self.name} has {len(self.lists[0])} pairs, expected {fan_in} for each node"
            )
        return nodes

    def nodes(self, space: CellSpace) -> Nodes:
        """Returns the pairs grouped by node."""
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
    """Infers the space of the cells from their nodes, ops and concatenations.

    Returns the space of loose ends (`nasnet`, `enas_rnn`) if the cells fit it and do not fit the space of the DARTS
    authors (`darts_conv`, `darts_rnn`). Otherwise returns the space of the DARTS authors.
    """
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
    """Writes a genotype in the published form, with the pairs in the order of the string.

    The concatenated states are a range for a recurrent cell, and a list for other cells and for loose ends. Works for
    every `CellSpace` whose names are valid in this form. `read_darts(text, space)` reads the result.
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
