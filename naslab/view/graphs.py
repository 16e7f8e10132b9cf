"""Architectures as graphs: `architecture(space, tokens)`.

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

from naslab.spaces import NONE, CellSpace, ConvSpace, MacroSpace, TreeSpace
from naslab.view.picture import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    PURPLE,
    TINTS,
    VERMILLION,
    Picture,
    picture,
)

NODE, INPUT, OUTPUT, SPARE = TINTS

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


def architecture(space: CellSpace | MacroSpace | ConvSpace | TreeSpace, tokens: Iterable[int]) -> Picture:
    """The architecture that the tokens name, drawn; numbers are those of the decisions' names.

    Raises `ValueError` for tokens that are not a string of the space and for an unknown kind of space.
    """
    tokens = space.check(tokens) if hasattr(space, "check") else tuple(tokens)
    match space:
        case CellSpace():
            return _cells(space, tokens)
        case MacroSpace():
            return _macro(space, tokens)
        case ConvSpace():
            return _conv(space, tokens)
        case TreeSpace():
            return _tree(space, tokens)
    raise ValueError(f"space: got {type(space).__name__}, expected CellSpace, MacroSpace, ConvSpace or TreeSpace")


def _cells(space: CellSpace, tokens: tuple[int, ...]) -> Picture:
    graph, words = _graph(rankdir="LR", ranksep="0.3", nodesep="0.2"), list[str]()
    for cell, nodes in reversed(space.pairs(tokens).items()):  # the layout stacks them from the bottom
        used = [(s, t, op) for t, node in enumerate(nodes, space.inputs) for s, op in node if op != NONE]
        read = {s for s, _, _ in used}
        states = range(space.inputs + space.nodes)
        inner = states[space.inputs :]
        out = space.leaving(nodes)
        unused = [n for n in states if n not in read and n not in out]
        with graph.subgraph(name=f"cluster_{cell}") as g:
            g.attr(label=cell, color=FAINT, style="rounded", margin="12")
            for n in states:
                text = f"{n}: {_input(space, cell, n)}" if n < space.inputs else f"{n}"
                style = "rounded,filled,dashed" if n in unused else "rounded,filled"
                g.node(f"{cell}{n}", text, style=style, fillcolor=INPUT if n < space.inputs else NODE)
            g.node(f"{cell}out", "output", fillcolor=OUTPUT)
            for target, node in enumerate(nodes, space.inputs):
                for source, op in node:  # an edge of "none" is invisible, but still keeps the nodes in their places
                    _op_edge(g, f"{cell}{source}", f"{cell}{target}", op)
            for n in out:
                g.edge(f"{cell}{n}", f"{cell}out", color=FAINT)
        terms = {t: " + ".join(f"{op}({s})" for s, target, op in used if target == t) for t in inner}
        words = [
            *(f"{cell} node {t} = {term or 'nothing, all its edges are none'}" for t, term in terms.items()),
            f"{cell} output from {_list('node', out)}",
            *([f"{cell} {_list('state', unused)} unused"] if unused else []),
            *words,
        ]
    return _draw(graph, f"Cells: {', '.join(space.cells)}", words)


def _list(noun: str, numbers: Sequence[int]) -> str:
    return f"{noun}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _input(space: CellSpace, cell: str, state: int) -> str:
    if space.inputs == 2:
        return ("c_(k-2)", "c_(k-1)")[state]
    return "x_t, h_(t-1)" if cell == "recurrent" else "input"


def _macro(space: MacroSpace, tokens: tuple[int, ...]) -> Picture:
    """A layer applies its op to the layer before it; a skip bit adds an earlier layer to what it gives."""
    graph, words = _graph(nodesep="0.35", ranksep="0.3"), []
    ops, skips = _layers(space, tokens)
    _ends(graph)
    for i in range(space.layers):
        op = str(ops[i]["op"])
        color, line = _style(op)
        graph.node(str(i), f"{i}: {op}", color=color, style="rounded,filled" + (f",{line}" * (line != "solid")))
        graph.edge(str(i - 1) if i else "image", str(i), weight="50")
        for j in skips[i]:
            graph.edge(str(j), str(i), color=BLUE, style="dashed")
        words.append(f"layer {i} {op}" + (f" with skips from {', '.join(map(str, skips[i]))}" if skips[i] else ""))
    graph.edge(str(space.layers - 1), "classifier", weight="50")
    return _draw(graph, f"Network of {space.layers} layers", words, "solid: layer to layer    dashed: skip connections")


def _conv(space: ConvSpace, tokens: tuple[int, ...]) -> Picture:
    """Skip bits are a layer's only inputs; without one it reads the image, and layers nobody reads are classified."""
    graph, words = _graph(nodesep="0.35", ranksep="0.3"), []
    layers, skips = _layers(space, tokens)
    if not space.skips:
        skips = [[i - 1] if i else [] for i in range(space.layers)]
    _ends(graph)
    for i, layer in enumerate(layers):
        text = f"{layer['filter_height']}x{layer['filter_width']} filters {layer['filters']}"
        if space.strides != (1,):
            text += f", stride {layer['stride_height']}x{layer['stride_width']}"
        graph.node(str(i), f"{i}: {text}", color=BLUE)
        graph.edge(str(i - 1) if i else "image", str(i), weight="50", style="invis")  # keeps the layers in a column
        for j in skips[i]:
            graph.edge(str(j), str(i), color=BLUE if j < i - 1 else INK, style="dashed" if j < i - 1 else "solid")
        if not skips[i]:
            graph.edge("image", str(i), style="solid" if i == 0 else "dotted")
        words.append(f"layer {i} {text} reads {', '.join(map(str, skips[i])) or 'the image'}")
    loose = [i for i in range(space.layers) if not any(i in s for s in skips)]
    graph.edge(str(space.layers - 1), "classifier", weight="50", style="invis")
    for i in loose:
        graph.edge(str(i), "classifier", style="solid" if i == space.layers - 1 else "dotted")
    words.append(f"classifier reads {', '.join(map(str, loose))}")
    note = "dashed: skip connections    dotted: added for a layer that reads none or that none reads"
    return _draw(graph, f"Convolutional network of {space.layers} layers", words, note if space.skips else "")


def _tree(space: TreeSpace, tokens: tuple[int, ...]) -> Picture:
    graph, words = _graph(rankdir="LR", nodesep="0.15", ranksep="0.35"), []
    *ops, inject_combine, inject_activation, memory, inject = (
        d.options[t] for d, t in zip(space.decisions, tokens, strict=True)
    )
    for n in range(space.nodes):
        combine, activation = ops[2 * n], ops[2 * n + 1]
        graph.node(str(n), f"{n}: {combine}, {activation}", color=_style(str(activation))[0])
        if n < space.base:
            graph.node(f"leaf{n}", "x_t, h_(t-1)", fillcolor=INPUT)
            graph.edge(f"leaf{n}", str(n))
            reads = "x_t, h_(t-1)"
        else:
            first = 2 * (n - space.base)
            graph.edge(str(first), str(n))
            graph.edge(str(first + 1), str(n))
            reads = f"{first}, {first + 1}"
        words.append(f"node {n} = {activation}({combine}({reads}))")
    graph.node("root", "h_t", fillcolor=OUTPUT)
    graph.edge(str(space.nodes - 1), "root")
    graph.node("before", "c_(t-1)", fillcolor=INPUT)
    graph.node("after", "c_t", fillcolor=OUTPUT)
    how = f"{inject_combine}, {inject_activation}"
    graph.edge("before", str(inject), f"inject: {how}", color=VERMILLION, style="dashed")
    graph.edge(str(memory), "after", "before activation", style="dotted")
    words.append(f"c_(t-1) injected into node {inject} = {inject_activation}({inject_combine}({inject}, c_(t-1)))")
    words.append(f"c_t = node {memory} before its activation; h_t = node {space.nodes - 1}")
    return _draw(graph, f"Recurrent cell, a tree of {space.nodes} nodes", words)


def _layers(
    space: MacroSpace | ConvSpace, tokens: tuple[int, ...]
) -> tuple[list[dict[str, int | str]], list[list[int]]]:
    """Per layer its attributes by kind, and the earlier layers whose skip bit is set."""
    attributes: list[dict[str, int | str]] = [{} for _ in range(space.layers)]
    skips: list[list[int]] = [[] for _ in range(space.layers)]
    for decision, token in zip(space.decisions, tokens, strict=True):
        if decision.kind == "skip":
            i, j = decision.row
            skips[i] += [j] * token
        else:
            attributes[decision.row[0]][decision.kind] = decision.options[token]
    return attributes, skips


def _ends(graph: graphviz.Digraph) -> None:
    graph.node("image", fillcolor=INPUT)
    graph.node("classifier", fillcolor=OUTPUT)


def _style(op: str) -> tuple[str, str]:
    return next((style for part, style in _STYLES.items() if part in op), (INK, "solid"))


def _op_edge(graph: graphviz.Digraph, source: str, target: str, op: str) -> None:
    if op == NONE:
        graph.edge(source, target, style="invis")
        return
    color, line = _style(op)
    width = "2.6" if "5x5" in op or "7x7" in op else "1.5"
    graph.edge(source, target, f" {op} ", color=color, style=line, penwidth=width)


def _graph(**attributes: str) -> graphviz.Digraph:
    font = {"fontname": "Arial", "fontcolor": INK}
    line = {"color": INK, "penwidth": "1.5"}
    box = {"shape": "box", "style": "rounded,filled", "fillcolor": NODE, "height": "0.35", "margin": "0.12,0.05"}
    return graphviz.Digraph(
        graph_attr={**font, "bgcolor": PAPER, "pad": "0.15", "fontsize": "14"} | attributes,
        node_attr=font | line | box | {"fontsize": "14"},
        edge_attr=font | line | {"arrowsize": "0.7", "fontsize": "12"},
    )


def _draw(graph: graphviz.Digraph, title: str, words: list[str], note: str = "") -> Picture:
    if note:
        graph.attr(label=note, labelloc="b", fontsize="12", fontcolor=FAINT)
    svg = subprocess.run(
        [_program(), "-Kdot", "-Tsvg"], input=graph.source, capture_output=True, check=True, encoding="utf-8"
    ).stdout
    svg = re.sub(r' id="[^"]*"', "", svg).replace('font-family="Arial"', 'font-family="Arial,Helvetica,sans-serif"')
    return picture(svg, title, f"{title}. " + "; ".join(words) + ".")


def _program() -> str:
    """`graphviz-pure` of this environment, which need not be activated; then of the path; then `dot`."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("graphviz-pure", path=scripts) or shutil.which("graphviz-pure") or shutil.which("dot")
    if found is None:
        raise RuntimeError("drawing needs the program graphviz-pure: pip install graphviz-pure")
    return found
