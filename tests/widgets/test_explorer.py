"""The string explorer: sliders, string, count and drawing agree."""

import pytest
import torch
from test_view import SPACES, sample

from naslab import spaces, view


def test_explorer_starts_at_the_string(explorer):
    space = spaces.darts_conv(nodes=2)
    tokens = (0, 3, 1, 2, 1, 2, 2, 3) * 2
    assert explorer.tokens == tokens
    assert list(explorer.sliders) == [d.name for d in space.decisions]
    assert "0 3 1 2 1 2 2 3 0 3" in explorer.text and "normal.2.0.op=sep_conv_3x3" in explorer.text
    assert f"{1000 * sum(tokens):,}" in explorer.text and f"{space.strings:,}" in explorer.text
    assert explorer.drawing.replace('style="max-width:100%;height:auto" ', "") == view.architecture(space, tokens).svg


def test_moving_any_slider_changes_string_count_and_drawing_together(explorer):
    for name in explorer.sliders:
        if not name.endswith(".op"):
            continue
        before = explorer.tokens, explorer.text, explorer.drawing
        slider = explorer.sliders[name]
        slider.value = (slider.value + 1) % len(slider.options)
        position = list(explorer.sliders).index(name)
        assert explorer.tokens[position] == slider.value != before[0][position]
        assert f"{1000 * sum(explorer.tokens):,}" in explorer.text
        assert f"{name}={slider.label}" in explorer.text and explorer.text != before[1]
        assert slider.label in explorer.drawing and explorer.drawing != before[2]


def test_an_invalid_combination_is_explained_and_can_be_left(explorer):
    explorer.sliders["normal.2.0.input"].value = 1
    assert "normal.2.0.input and normal.2.1.input are both 1, they must differ" in explorer.text
    assert "not a string of the space" in explorer.text and "parameters" not in explorer.text
    assert explorer.drawing == ""
    explorer.sliders["normal.2.1.input"].value = 0
    assert "differ" not in explorer.text and "<svg" in explorer.drawing and explorer.tokens[:4] == (1, 3, 0, 2)


def test_sample_is_the_spaces_and_draws_once(explorer, monkeypatch):
    drawn = []
    monkeypatch.setattr(view.widgets.explorer, "architecture", lambda *a: drawn.append(a) or view.architecture(*a))
    generator = torch.Generator().manual_seed(3)
    for k in range(1, 4):
        explorer.sample.click()
        assert explorer.tokens == spaces.darts_conv(nodes=2).sample(generator) and len(drawn) == k
    assert tuple(s.value for s in explorer.sliders.values()) == explorer.tokens


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
    assert list(explorer.sliders) == [d.name for d in choices]
    for decision, slider in zip(choices, explorer.sliders.values(), strict=True):
        assert slider.description == decision.name and [o for o, _ in slider.options] == [*map(str, decision.options)]
    assert explorer.tokens == sample(space, 0) and "<svg" in explorer.drawing


def test_explorers_plain_text_is_short_and_the_same_each_time(explorer):
    data, _ = explorer._repr_mimebundle_()
    assert data["text/plain"] == "string explorer: 16 sliders, 830,131,344 strings"
