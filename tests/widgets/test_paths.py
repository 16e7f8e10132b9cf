"""The path explorer: counts equal a recount, buttons and controls do what they say."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from cases import plain
from hypothesis import given
from hypothesis import strategies as st
from test_view import SVG, edges, sample, texts

from naslab import spaces, view
from naslab.view import picture, sharing

SMALL = spaces.MacroSpace(layers=3, ops=("conv_3x3", "sep_conv_5x5", "max_pool_3x3"))
STRINGS = st.tuples(*(st.integers(0, len(d.options) - 1) for d in SMALL.decisions))


@given(st.lists(STRINGS, max_size=12), STRINGS)
def test_books_equal_a_recount_with_every_step_taken(children, child):
    shared, visitors, alone = {}, {}, {}  # what each step adds to, one set of weights after the other
    for number in children:
        for layer, token in ((0, number[0]), (1, number[1]), (2, number[3])):  # after an op come its layer's bits
            op = SMALL.ops[token]
            if op != "max_pool_3x3":
                shared[layer, op] = shared.get((layer, op), 0) + 1
                visitors.setdefault((layer, op), set()).add(number)
                alone[number, layer, op] = alone.get((number, layer, op), 0) + 1
    counts = sharing.Counts(SMALL, tuple(children))
    assert {(i, SMALL.ops[k]): n for (i, k), n in counts.steps.items()} == shared
    assert {(i, SMALL.ops[k]): n for (i, k), n in counts.sharers.items()} == {s: len(v) for s, v in visitors.items()}
    assert counts.copies == len(alone) and sum(alone.values()) == sum(shared.values())
    own = [(i, SMALL.ops[k]) for i, k in counts.own(child)]
    assert own == [(i, SMALL.ops[child[p]]) for i, p in enumerate((0, 1, 3)) if child[p] != 2]
    assert list(counts.together(child)) == [shared.get(s, 0) for s in own]
    assert all(alone.get((child, *s), 0) == counts.alone(child) for s in own)
    per_child = {}
    for number, layer, op in alone:
        per_child.setdefault(number, []).append(shared[layer, op])
    assert counts.equivalent == pytest.approx(sum(np.mean(n) for n in per_child.values()))
    rows = {name: values for name, *values in sharing.costs(counts, child)}
    assert rows["sets of op weights trained"] == [str(len(alone)), f"{len(shared)} of 6"]
    if own:
        mean = np.mean([shared.get(s, 0) for s in own])
        a, b = rows["mean steps of this child's sets"]
        assert a == str(children.count(child)) and b.startswith(f"{mean:,.1f}, from ")
    else:
        assert rows["mean steps of this child's sets"] == ["no weights"] * 2


def test_only_ops_with_parameters_have_weights():
    assert {op for op in spaces.MacroSpace().ops if not sharing.has_weights(op)} == {"avg_pool_3x3", "max_pool_3x3"}
    assert not sharing.has_weights("skip_connect") and sharing.has_weights("an op of one's own")


@pytest.fixture
def paths():
    return view.path_explorer(SMALL, seed=4)


def test_path_explorer_obeys_its_buttons(paths):
    generator = torch.Generator().manual_seed(4)
    first = SMALL.sample(generator)
    begun = paths.tokens, paths.text, paths.drawing
    assert paths.tokens == first and plain(paths) == view.path_picture(SMALL, [], first).svg
    paths.train.click()
    paths.train.click()
    assert "<code>2 (1)</code>" in paths.text and "(a) 2; (b) 2.0, from 2 to 2" in paths.text
    paths.sample.click()
    second = SMALL.sample(generator)
    assert paths.tokens == second and paths.counts.children == (first, first)
    assert "<code>2 (1)</code>" in paths.text and "(a) 0; (b) " in paths.text
    paths.many.click()
    children = (first, first, *(SMALL.sample(generator) for _ in range(10)))
    assert paths.counts.children == children and paths.tokens == children[-1]
    assert f"<code>12 ({len(set(children))})</code>" in paths.text
    assert plain(paths) == view.path_picture(SMALL, children).svg
    paths.reset.click()
    assert (paths.tokens, paths.text, paths.drawing) == begun and paths.counts.children == ()
    paths.sample.click()
    assert paths.tokens == second


def test_play_trains_one_child_after_the_other(paths):
    generator = torch.Generator().manual_seed(4)
    SMALL.sample(generator)
    drawn = [SMALL.sample(generator) for _ in range(5)]
    for value, children in ((1, 1), (2, 2), (5, 5)):  # the page may merge steps that come too fast
        paths.play.value = value
        assert paths.counts.children == tuple(drawn[:children]) and paths.tokens == drawn[children - 1]
    paths.play.value = 0  # its stop button
    assert paths.counts.children == tuple(drawn)
    paths.play.value = 2
    paths.reset.click()
    assert paths.play.value == 0 and paths.counts.children == ()


def test_path_explorer_obeys_its_controls_and_draws_once(paths, monkeypatch):
    assert list(paths.choices) == [d.name for d in SMALL.decisions]
    paths.tokens = (0, 0, 0, 0, 0, 0)
    before = paths.drawing
    paths.choices["1.op"].value = 2
    paths.choices["2.skip.0"].value = True
    assert paths.tokens == (0, 2, 0, 0, 1, 0) and paths.drawing != before
    assert (
        "<code>0 2 0 0 1 0</code>" in paths.text and "conv_3x3, max_pool_3x3, conv_3x3; skips: 0 to 2" in paths.drawing
    )
    labels = [paths.choices[name].description for name in ("0.op", "1.skip.0", "2.skip.1")]
    assert labels == ["0.op", "0→1", "1→2"]
    drawn, drawing = [], view.path_picture(SMALL, [])
    monkeypatch.setattr(view.widgets.paths, "supergraph", lambda *a: drawn.append(a) or drawing)
    for n, button in enumerate((paths.train, paths.sample, paths.many, paths.reset), start=1):
        button.click()
        assert len(drawn) == n
    with pytest.raises(ValueError, match=r"0\.op: token 9 is outside"):
        paths.tokens = (9, 0, 0, 0, 0, 0)
    assert paths._repr_mimebundle_()[0]["text/plain"] == "path explorer: 3 layers of 3 ops, 216 children"


def test_path_picture_shows_the_numbers_and_says_them():
    a, b, c = (0, 1, 1, 0, 0, 0), (0, 0, 0, 0, 0, 1), (1, 2, 0, 0, 0, 0)
    pictured = view.path_picture(SMALL, [a, a, b, c], a)
    assert "layer 0 conv_3x3 3 / 2, sep_conv_5x5 1 / 1; layer 1 conv_3x3 1 / 1, sep_conv_5x5 2 / 1; " in pictured.alt
    assert pictured.alt.endswith("layer 2 conv_3x3 4 / 3.")
    assert (
        "steps spent (different children): (a) 4 (3), (b) 4 (3); sets of op weights trained: (a) 8, (b) 5 of 6; "
        in (pictured.alt)
    )
    assert "mean steps of a set: (a) 1.4, (b) 2.2; mean steps of this child's sets: (a) 2, (b) 3.0, from 2 to 4; " in (
        pictured.alt
    )
    needed = (3 + 2 + 4) / 3 + (3 + 1 + 4) / 3 + (1 + 4) / 2  # 8.17
    assert f"steps to give each child as many as (b): (a) {needed:.0f}, (b) 4." in pictured.alt
    boxed = [word for word in texts(pictured) if " / " in word and ":" not in word]
    assert boxed.count("2 / 1") == 3 + 1 and sorted(boxed) == sorted(
        ["2 / 1"] * 4 + ["3 / 2", "4 / 3", "0 / 0"] + ["1 / 1"] * 2
    )
    assert len(edges(pictured)) == 2 * (4 + 1) and sum(bool(dash) for _, dash in edges(pictured)) == 2
    thick = [r for r in ET.fromstring(pictured.svg).iter(f"{SVG}rect") if r.get("stroke-width") == "3.5"]
    assert len(thick) == 2 * 3 and {r.get("stroke") for r in thick} == {picture.VERMILLION}


def test_path_picture_of_the_last_child_of_none_and_of_another():
    strings = [sample(SMALL, k) for k in range(4)]
    assert view.path_picture(SMALL, strings) == view.path_picture(SMALL, iter(strings), strings[-1])
    assert view.path_picture(SMALL, strings) != view.path_picture(SMALL, strings, strings[0])
    nothing = view.path_picture(SMALL, [])
    assert nothing.alt.startswith("No path is chosen.") and not edges(nothing) and "no child yet" in nothing.alt
    pools = view.path_picture(SMALL, [(2, 2, 0, 2, 0, 0)])
    assert "this child's sets: (a) no weights, (b) no weights" in pools.alt and "as (b): (a) 0, (b) 1" in pools.alt
    alone = view.path_explorer(spaces.MacroSpace(1, ("conv_3x3",)))
    alone.train.click()
    assert alone.choices == {} and alone.tokens == (0,) and "conv_3x3 1 / 1" in alone.drawing


def test_path_explorer_refuses_what_it_cannot_draw():
    for make in (view.path_explorer, lambda space: view.path_picture(space, [])):
        with pytest.raises(ValueError, match="space: got CellSpace, expected MacroSpace"):
            make(spaces.enas_micro())
    for children, current in (([(0,)], None), ([], (0,))):
        with pytest.raises(ValueError, match="the space has 6 decisions"):
            view.path_picture(SMALL, children, current)


def test_path_picture_of_a_deep_network_stays_inside():
    space = spaces.MacroSpace(layers=24)
    every = tuple(int(d.kind == "skip") for d in space.decisions)
    root = ET.fromstring(view.path_picture(space, [every] * 3).svg)
    panels = [e for e in root.iter(f"{SVG}svg") if e is not root]
    for panel in panels:
        width = float(panel.get("width").removesuffix("px"))
        curves = [p.get("d") for p in panel.iter(f"{SVG}path") if "C" in (p.get("d") or "")]
        assert len(curves) == 276 and width < 600
        for x, _, bend, *_ in ([float(n) for n in re.findall(r"[\d.]+", d)] for d in curves):
            assert x + 0.75 * (bend - x) < width
