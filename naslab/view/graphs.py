"""Architectures as graphs: `architecture(space, tokens)`. Cells and trees; networks layer by layer are in `layers`.

Layout: the program `graphviz-pure` from PyPI, a port of Graphviz with fonts of its own. With two sets of installed
fonts it wrote the same bytes, and the system's `dot` did not, which measures text with them and moves lines from
one version to the next; `dot` is used only where `graphviz-pure` is not installed. Either drew in 5 to 40 ms
(median of 21), so a slider may redraw at each key. Text is set in Arial because its metrics have free twins (Arimo,
Liberation Sans): boxes fit everywhere.

Colours and lines tell families of ops apart, and every op is named, so colour is never the only signal.
"""

import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Sequence

import graphviz

from naslab.spaces import NONE, CellSpace, ConvSpace, MacroSpace, Nodes, Space, Tokens, TreeSpace
from naslab.view import layers
from naslab.view.layers import INPUT, NODE, OUTPUT, UNKNOWN
from naslab.view.picture import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    PURPLE,
    VERMILLION,
    Picture,
    picture,
    safe,
)

_STYLES = {  # the first part of an op's name that is found decides: colour, line style
    "sep_conv": (BLUE, "solid"),
    "dil_conv": (PURPLE, "solid"),
    "conv": (VERMILLION, "solid"),
    "max_pool": (GREEN, "dashed"),
    "avg_pool": (ORANGE, "dashed"),
    "skip_connect": (FAINT, "dotted"),
    "identity": (FAINT, "dotted"),
    "tanh": (BLUE, "solid"),
    "relu": (VERMILLION, "solid"),
    "sigmoid": (GREEN, "dashed"),
}


def architecture(space: Space, tokens: Iterable[int], decided: int | None = None, *, lit: bool = False) -> Picture:
    """The architecture that the tokens name, drawn; numbers are those of the decisions' names.

    With `decided` only what the first so many tokens say is shown, in the place where it stands in the whole. `lit`
    marks the loose ends of cells: they have the colour of the output and thick arrows to it.
    Raises `ValueError` for tokens that are not a string of the space and for an unknown kind of space.
    """
    tokens = space.check(tokens) if hasattr(space, "check") else tuple(tokens)
    decided = len(tokens) if decided is None else decided
    if not isinstance(decided, int) or not 0 <= decided <= len(tokens):
        raise ValueError(f"decided: got {decided!r}, expected 0 to {len(tokens)} tokens")
    match space:
        case CellSpace():
            return _cells(space, tokens, decided, lit and space.output == "loose")
        case MacroSpace():
            return layers.macro(space, tokens, decided, {op: style(op) for op in space.ops})
        case ConvSpace():
            return layers.conv(space, tokens, decided)
        case TreeSpace():
            return _tree(space, tokens, decided)
    raise ValueError(f"space: got {type(space).__name__}, expected CellSpace, MacroSpace, ConvSpace or TreeSpace")


def _cells(space: CellSpace, tokens: Tokens, decided: int, lit: bool) -> Picture:
    graph, words = _graph(rankdir="LR", ranksep="0.3", nodesep="0.2"), list[str]()
    each = len(tokens) // len(space.cells)
    for k, (cell, nodes) in reversed([*enumerate(space.pairs(tokens).items())]):  # the layout stacks from the bottom
        known = decided - k * each
        complete = known >= each
        edges = _known(space, nodes, known)
        used = [(s, t, op) for s, t, op in edges if op not in (None, NONE)]
        read = {s for s, _, _ in used}
        states = range(space.inputs + space.nodes)
        inner = states[space.inputs :]
        out = space.leaving(nodes)
        unused = [n for n in states if n not in read and n not in out] if complete else []
        with graph.subgraph(name=f"cluster_{k}") as g:
            g.attr(label=_label(cell), color=FAINT, style="rounded", margin="12")
            for n in states:
                text = f"{n}: {_input(space, cell, n)}" if n < space.inputs else f"{n}"
                style = "rounded,filled,dashed" if n in unused else "rounded,filled"
                bright = OUTPUT if lit and complete and n in out else NODE
                g.node(f"{k}.{n}", text, style=style, fillcolor=INPUT if n < space.inputs else bright)
            g.node(f"{k}.out", "output", fillcolor=OUTPUT)
            for source, target, op in edges:  # an invisible edge still keeps the nodes in their places
                _op_edge(g, f"{k}.{source}", f"{k}.{target}", op)
            for n in out:
                width = "3.5" if lit else "1.5"
                g.edge(f"{k}.{n}", f"{k}.out", color=FAINT, style="solid" if complete else "invis", penwidth=width)
        terms = {t: [f"{op}({s})" for s, target, op in used if target == t] for t in inner}
        open_ = {target for _, target, op in edges if op in (None, UNKNOWN)}
        nothing = {t: "not decided" if t in open_ else "nothing, all its edges are none" for t in inner}
        words = [
            *(f"{cell} node {t} = {' + '.join(term) or nothing[t]}" for t, term in terms.items()),
            *([f"{cell} output from {_list('node', out)}"] if complete else []),
            *([f"{cell} {_list('state', unused)} unused"] if unused else []),
            *words,
        ]
    return _draw(graph, f"Cells: {', '.join(space.cells)}", words)


def _known(space: CellSpace, nodes: Nodes, known: int) -> list[tuple[int, int, str | None]]:
    """(source, target, op) of a cell of which `known` tokens are decided; None where not even the source is."""
    each = 1 if space.fan_in is None else 2  # an op, or an input and an op
    flat = [(source, target, op) for target, node in enumerate(nodes, space.inputs) for source, op in node]
    here = [known - each * k for k in range(len(flat))]
    return [(s, t, op if n >= each else UNKNOWN if n == 1 else None) for (s, t, op), n in zip(flat, here, strict=True)]


def _list(noun: str, numbers: Sequence[int]) -> str:
    return f"{noun}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _input(space: CellSpace, cell: str, state: int) -> str:
    if space.inputs == 2:
        return ("c_(k-2)", "c_(k-1)")[state]
    return "x_t, h_(t-1)" if cell == "recurrent" else "input"


def _tree(space: TreeSpace, tokens: Tokens, decided: int) -> Picture:
    graph, words = _graph(rankdir="LR", nodesep="0.15", ranksep="0.35"), []
    *ops, inject_combine, inject_activation, memory, inject = (
        d.options[t] if p < decided else UNKNOWN for p, (d, t) in enumerate(zip(space.decisions, tokens, strict=True))
    )
    leaves = graphviz.Digraph("leaves", graph_attr={"rank": "same"})
    for n in range(space.nodes):
        combine, activation = ops[2 * n], ops[2 * n + 1]
        graph.node(str(n), _label(f"{n}: {combine}, {activation}"), color=style(str(activation))[0])
        if n < space.base:
            reads = f"W{2 * n + 1} x_t, W{2 * n + 2} h_(t-1)"
            leaves.node(f"leaf{n}", reads, fillcolor=INPUT)
            graph.edge(f"leaf{n}", str(n))
            if n:  # in one column, in order
                leaves.edge(f"leaf{n - 1}", f"leaf{n}", style="invis")
        else:
            first = 2 * (n - space.base)
            graph.edge(str(first), str(n))
            graph.edge(str(first + 1), str(n))
            reads = f"{first}, {first + 1}"
        if combine != UNKNOWN:
            words.append(f"node {n} = {activation}({combine}({reads}))")
    graph.subgraph(leaves)
    graph.node("root", "h_t", fillcolor=OUTPUT)
    graph.edge(str(space.nodes - 1), "root")
    graph.node("before", "c_(t-1)", fillcolor=INPUT)
    graph.node("after", "c_t", fillcolor=OUTPUT)
    how = f"{inject_combine}, {inject_activation}"
    dashed, dotted = ("invis" if place == UNKNOWN else line for place, line in ((inject, "dashed"), (memory, "dotted")))
    graph.edge("before", str(tokens[-1]), _label(f"inject: {how}"), color=VERMILLION, style=dashed)
    graph.edge(str(tokens[-2]), "after", "before activation", style=dotted)
    if inject != UNKNOWN:
        words.append(f"c_(t-1) injected into node {inject} = {inject_activation}({inject_combine}({inject}, c_(t-1)))")
    if memory != UNKNOWN:
        words.append(f"c_t = node {memory} before its activation; h_t = node {space.nodes - 1}")
    return _draw(graph, f"Recurrent cell, a tree of {space.nodes} nodes", words)


def style(op: str) -> tuple[str, str]:
    """Colour and kind of line of an op: solid, dashed or dotted."""
    return next((look for part, look in _STYLES.items() if part in op), (INK, "solid"))


def _op_edge(graph: graphviz.Digraph, source: str, target: str, op: str | None) -> None:
    if op is None or op == NONE:
        graph.edge(source, target, style="invis")
        return
    color, line = style(op)
    width = "2.6" if "5x5" in op or "7x7" in op else "1.5"
    graph.edge(source, target, _label(f" {op} "), color=color, style=line, penwidth=width)


def _label(words: str) -> str:
    """Words as they are: in the language of the drawing program a backslash and `<...>` have meanings."""
    return graphviz.escape(safe(words))


def _graph(**attributes: str) -> graphviz.Digraph:
    font = {"fontname": "Arial", "fontcolor": INK}
    line = {"color": INK, "penwidth": "1.5"}
    box = {"shape": "box", "style": "rounded,filled", "fillcolor": NODE, "height": "0.35", "margin": "0.2,0.05"}
    return graphviz.Digraph(
        graph_attr={**font, "bgcolor": PAPER, "pad": "0.15", "fontsize": "14"} | attributes,
        node_attr=font | line | box | {"fontsize": "14"},
        edge_attr=font | line | {"arrowsize": "0.7", "fontsize": "12"},
    )


def _draw(graph: graphviz.Digraph, title: str, words: list[str]) -> Picture:
    svg = subprocess.run(
        [_program(), "-Kdot", "-Tsvg"], input=graph.source, capture_output=True, check=True, encoding="utf-8"
    ).stdout
    svg = re.sub(r' id="[^"]*"', "", svg).replace('font-family="Arial"', 'font-family="Arial,Helvetica,sans-serif"')
    return picture(svg, title, f"{title}. {'; '.join(words) or 'Nothing is decided'}.")


def _program() -> str:
    """`graphviz-pure` of this environment, which need not be activated; then of the path; then `dot`."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("graphviz-pure", path=scripts) or shutil.which("graphviz-pure") or shutil.which("dot")
    if found is None:
        raise RuntimeError("drawing needs the program graphviz-pure: pip install graphviz-pure")
    return found
