"""Writes tree cells as formulas."""

from naslab.spaces import Tokens, TreeSpace

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
    """Writes the cell as an `aligned` block for MathJax: `IPython.display.Math(write_tree_latex(*FIGURE_5))`.

    Zoph & Le 2017, section 3.4. There is one line per node, then c_t and h_t. Leaf i has the matrices W_(2i+1) and
    W_(2i+2). a' is the value a after the injection of c_(t-1); its line precedes the first line that reads it. See
    `TreeCell`.
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
        """Returns the names of the nodes' values. Adds the line that defines a' before its first use."""
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
