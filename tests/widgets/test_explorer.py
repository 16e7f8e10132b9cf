"""The string explorer: controls, string, count and drawing agree."""

import pytest
import torch
from ipywidgets import Checkbox, SelectionSlider, ToggleButtons
from test_view import SPACES, sample

from naslab import spaces, view


def test_explorer_starts_at_the_string(explorer):
    space = spaces.darts_conv(nodes=2)
    tokens = (0, 3, 1, 2, 1, 2, 2, 3) * 2
    assert explorer.tokens == tokens
    assert list(explorer.choices) == [d.name for d in space.decisions]
    assert "0 3 1 2 1 2 2 3 0 3" in explorer.text and "normal.2.0.op=sep_conv_3x3;" in explorer.text
    assert f"{1000 * sum(tokens):,}" in explorer.text and f"{space.strings:,}" in explorer.text
    assert explorer.drawing.replace('style="max-width:100%;height:auto" ', "") == view.architecture(space, tokens).svg


def test_any_choice_changes_string_count_and_drawing_together(explorer):
    for name in explorer.choices:
        if not name.endswith(".op"):
            continue
        explorer.node.value = name[:-5].replace(".", " ")
        before = explorer.tokens, explorer.text, explorer.drawing
        choice = explorer.choices[name]
        choice.value = (choice.value + 1) % len(choice.options)
        position = list(explorer.choices).index(name)
        assert explorer.tokens[position] == choice.value != before[0][position]
        assert f"{1000 * sum(explorer.tokens):,}" in explorer.text
        assert f"{name}={choice.label}" in explorer.text and explorer.text != before[1]
        assert choice.label in explorer.drawing and explorer.drawing != before[2]


def test_an_invalid_combination_is_explained_and_can_be_left(explorer):
    explorer.choices["normal.2.0.input"].value = 1
    assert "normal.2.0.input and normal.2.1.input are both 1, they must differ" in explorer.text
    assert "not a string of the space" in explorer.text and "parameters" not in explorer.text
    assert explorer.drawing == ""
    explorer.choices["normal.2.1.input"].value = 0
    assert "differ" not in explorer.text and "<svg" in explorer.drawing and explorer.tokens[:4] == (1, 3, 0, 2)


def test_sample_is_the_spaces_and_draws_once(explorer, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        view.widgets.explorer, "architecture", lambda *a, **k: drawn.append(a) or view.architecture(*a, **k)
    )
    generator = torch.Generator().manual_seed(3)
    for k in range(1, 4):
        explorer.sample.click()
        assert explorer.tokens == spaces.darts_conv(nodes=2).sample(generator) and len(drawn) == k
    assert tuple(c.value for c in explorer.choices.values()) == explorer.tokens


def test_loose_ends_are_named_where_a_space_has_them(explorer):
    assert "loose ends" not in explorer.text
    enas = view.string_explorer(spaces.enas_rnn(3), (0, 0, 0, 1, 1, 2), lambda t: 1)
    assert "recurrent 2, 3" in enas.text and enas.drawing.count('stroke-width="3.5"') == 4


def test_explorer_can_be_set_from_python_and_refuses_what_is_no_string(explorer):
    explorer.tokens = (0, 0, 1, 0, 0, 0, 1, 0) * 2
    assert "0 0 1 0 0 0 1 0 0 0" in explorer.text
    with pytest.raises(ValueError, match=r"normal\.2\.1\.input: token 0 is taken by normal\.2\.0\.input"):
        explorer.tokens = (0,) * 16
    assert explorer.tokens == (0, 0, 1, 0, 0, 0, 1, 0) * 2


@pytest.mark.parametrize("name", sorted(SPACES))
def test_explorer_opens_every_space(name):
    space = SPACES[name]
    explorer = view.string_explorer(space, sample(space, 0), lambda t: len(t))
    choices = [d for d in space.decisions if len(d.options) > 1]
    assert list(explorer.choices) == [d.name for d in choices]
    for decision, control in zip(choices, explorer.choices.values(), strict=True):
        assert control.description == decision.name
        if decision.kind == "skip":
            assert isinstance(control, Checkbox) and control.value == explorer.tokens[space.decisions.index(decision)]
            continue
        assert [option for option, _ in control.options] == [*map(str, decision.options)]
        assert isinstance(control, ToggleButtons)
        assert [tip.split(": ") for tip in control.tooltips] == [[decision.name, str(o)] for o in decision.options]
    assert explorer.tokens == sample(space, 0) and "<svg" in explorer.drawing


def test_explorers_plain_text_is_short_and_the_same_each_time(explorer):
    data, _ = explorer._repr_mimebundle_()
    assert data["text/plain"] == "string explorer: 16 choices, 830,131,344 strings"


def controls(explorer):
    """The controls of decisions that are shown."""
    ours, found, todo = set(explorer.choices.values()), set(), [explorer]
    while todo:
        widget = todo.pop()
        found |= {widget} & ours
        todo += getattr(widget, "children", ())
    return found


def test_few_controls_are_shown_together_and_many_node_by_node(explorer):
    small = view.string_explorer(spaces.MacroSpace(layers=4), [0] * 10, len)
    assert controls(small) == {*small.choices.values()} and small.node not in small.children
    assert explorer.node in explorer.children
    assert explorer.node.options == ("normal 2", "normal 3", "reduce 2", "reduce 3")
    for node, start in zip(explorer.node.options, ("normal.2", "normal.3", "reduce.2", "reduce.3"), strict=True):
        before = explorer.tokens, explorer.drawing
        explorer.node.value = node
        assert controls(explorer) == {c for name, c in explorer.choices.items() if name.startswith(start)}
        assert explorer.text.count("=") == 4 + explorer.text.count('style="') and f"{start}.0.op=" in explorer.text
        assert (explorer.tokens, explorer.drawing) == before
    layers = view.string_explorer(spaces.MacroSpace(layers=6), [0] * 21, len)
    assert layers.node.options == tuple(f"layer {i}" for i in range(6)) and len(controls(layers)) == 1
    layers.node.value = "layer 5"
    assert len(controls(layers)) == 6
    tree = view.string_explorer(spaces.TreeSpace(base=8), [0] * 34, len)
    assert tree.node.options[-3:] == ("node 14", "inject", "cell index")


def test_spaces_with_skips_only_and_without_a_choice_can_be_opened():
    explorer = view.string_explorer(spaces.MacroSpace(layers=2, ops=("conv_3x3",)), [0, 0, 1], len)
    assert [*explorer.choices] == ["1.skip.0"] and explorer.tokens == (0, 0, 1)
    assert view.string_explorer(spaces.MacroSpace(layers=1, ops=("conv_3x3",)), [0], len).choices == {}


def test_a_decision_with_many_options_has_a_slider_with_its_option_beside():
    space = spaces.ConvSpace(layers=2, filters=tuple(range(1, 18)))
    explorer = view.string_explorer(space, [0] * 11, len)
    slider = explorer.choices["1.filters"]
    assert isinstance(slider, SelectionSlider) and isinstance(explorer.choices["1.filter_width"], ToggleButtons)
    slider.value = 16
    assert "1.filters=17" in explorer.text and explorer._labels["1.filters"].value == "17"
