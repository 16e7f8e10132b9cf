"""The tree assembler: string, tree and formula follow each choice."""

import pytest
from ipywidgets import ToggleButtons

from naslab import genotypes, spaces, view


@pytest.mark.parametrize("base", [1, 2, 8])
def test_every_choice_changes_string_tree_and_formula(base):
    space = spaces.TreeSpace(base)
    tree = view.tree_assembler(space, [0] * len(space.decisions))
    assert list(tree.choices) == [d.name for d in space.decisions]
    for position, decision in enumerate(space.decisions):
        if len(decision.options) == 1:
            continue
        before = tree.text, tree.drawing
        tree.choices[decision.name].value = 1
        assert tree.tokens[position] == 1
        assert f"{decision.name}={decision.options[1]}" in tree.text and tree.text != before[0]
        assert tree.drawing != before[1]
        assert tree.formula == genotypes.write_tree_latex(space, tree.tokens)
        assert tree.formula in tree._formula.value and tree._formula.value.startswith("$$")
        assert view.architecture(space, tree.tokens).alt in tree.drawing
    assert tree._repr_mimebundle_()[0]["text/plain"].startswith(f"tree assembler: base {base}, ")


def test_every_option_has_a_button_and_a_hint():
    space = spaces.TreeSpace(8)
    tree = view.tree_assembler(space, [0] * len(space.decisions))
    for decision in space.decisions:
        control = tree.choices[decision.name]
        assert isinstance(control, ToggleButtons) and control.description == decision.name
        assert [name for name, _ in control.options] == [*map(str, decision.options)]
        assert len(control.tooltips) == len(decision.options) and all(decision.name in tip for tip in control.tooltips)
    assert tree.choices["cell_index.0"].tooltips[3] == "cell_index.0: node 3, its value before activation is c_t"


def test_figure_5_is_one_press_away():
    tree = view.tree_assembler(spaces.TreeSpace(2), [0] * 10)
    tree.preset.click()
    assert tree.tokens == genotypes.FIGURE_5[1]
    for words in (
        "node 0 = tanh(add(W1 x_t, W2 h_(t-1)))",
        "node 1 = relu(elem_mult(W3 x_t, W4 h_(t-1)))",
        "node 2 = sigmoid(elem_mult(0, 1))",
        "c_(t-1) injected into node 0 = relu(add(0, c_(t-1)))",
        "c_t = node 1 before its activation",
    ):
        assert words in tree.drawing
    reordered = spaces.TreeSpace(2, ("max", "elem_mult", "add"), ("sin", "relu", "tanh", "sigmoid"))
    other = view.tree_assembler(reordered, [0] * 10)
    other.preset.click()
    assert other.drawing == tree.drawing and other.formula == tree.formula
    for space in (spaces.TreeSpace(3), spaces.TreeSpace(2, activation=("relu", "tanh"))):
        assert view.tree_assembler(space, [0] * len(space.decisions)).preset.disabled


def test_tree_assembler_can_be_set_from_python_and_refuses_what_is_no_string(monkeypatch):
    tree = view.tree_assembler(spaces.TreeSpace(2), [0] * 10)
    drawn = []
    monkeypatch.setattr(view.widgets.assembler, "architecture", lambda *a: drawn.append(a) or view.architecture(*a))
    tree.tokens = (1, 2, 0, 3, 1, 1, 0, 1, 2, 1)
    assert len(drawn) == 1 and "1 2 0 3 1 1 0 1 2 1" in tree.text
    assert tuple(c.value for c in tree.choices.values()) == tree.tokens
    with pytest.raises(ValueError, match=r"cell_index\.0: token 3 is outside"):
        tree.tokens = (1, 2, 0, 3, 1, 1, 0, 1, 3, 1)
    assert tree.tokens == (1, 2, 0, 3, 1, 1, 0, 1, 2, 1)
    with pytest.raises(ValueError, match="space: got CellSpace, expected TreeSpace"):
        view.tree_assembler(spaces.nas_bench_201(), [0] * 6)
    with pytest.raises(ValueError, match="the space has 10 decisions"):
        view.tree_assembler(spaces.TreeSpace(2), [0])
