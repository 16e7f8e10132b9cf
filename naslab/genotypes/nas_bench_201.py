"""NAS-Bench-201: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."""

from naslab.genotypes.reading import Reader, require
from naslab.spaces import CellSpace, Tokens, nas_bench_201


def read_nas_bench_201(text: str) -> tuple[CellSpace, Tokens]:
    """Reads the cell string of NAS-Bench-201 (Dong & Yang 2020): for each node, op~state for each earlier state.

    Also reads the form that the authors' code prints: `Structure(4 nodes with |op~0|+...)`.
    """
    space = nas_bench_201()
    reader = Reader(text)
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
    require(space, nas_bench_201())
    return "+".join("|" + "".join(f"{op}~{source}|" for source, op in node) for node in space.pairs(tokens)["cell"])
