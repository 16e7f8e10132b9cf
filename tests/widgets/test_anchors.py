"""The anchor map: the probabilities of section 3.3, and what a threshold makes of them."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from cases import controller_of
from test_view import sample

from naslab import spaces, view


def by_hand(controller, tokens):
    """Section 3.3 written out: a walk of its own, and a sigmoid of v' tanh(W_prev h_j + W_curr h_i)."""
    x = controller.start[None]
    states = [(torch.zeros_like(x), torch.zeros_like(x)) for _ in controller.lstm]
    hidden, found, unread = {}, {}, None

    def read(x):
        for k, cell in enumerate(controller.lstm):
            states[k] = cell(x, states[k])
            x = states[k][0]
        return x

    decisions = zip(controller.space.decisions, tokens, strict=True)
    for i, group in itertools.groupby(decisions, key=lambda item: item[0].row[0]):
        layer = [*group]
        for decision, token in [item for item in layer if item[0].kind != "skip"]:
            h = read(x)
            if unread is not None:  # layer 0 has no bits: the next decision is the first to read it
                hidden[unread], unread = h, None
            x = controller.embedding[decision.kind].weight[token][None]
        bits = [(decision.row[1], token) for decision, token in layer if decision.kind == "skip"]
        if not bits:
            unread = i
            continue
        hidden[i] = h = read(x)
        for j, _ in bits:
            attention = controller.previous["skip"](hidden[j]) + controller.current["skip"](h)
            found[i, j] = torch.sigmoid(controller.v["skip"](attention.tanh())).item()
        x = sum(token * hidden[j] for j, token in bits) / (1 + sum(token for _, token in bits))
    return found


@pytest.mark.parametrize("space", [spaces.MacroSpace(layers=5), spaces.ConvSpace(layers=4)], ids=["macro", "conv"])
def test_skip_probabilities_are_those_of_section_3_3(space):
    controller = controller_of(space)
    tokens = sample(space, 3)
    matrix = view.skip_probabilities(controller, tokens)
    assert matrix.shape == (space.layers, space.layers)
    trace = controller.trace(torch.tensor([tokens]))
    for decision, p in zip(space.decisions, trace, strict=True):
        if decision.kind == "skip":
            assert matrix[decision.row].item() == p[0, 1].item()
    assert int(matrix.isfinite().sum()) == space.layers * (space.layers - 1) // 2
    assert matrix.triu().isnan().sum() == space.layers * (space.layers + 1) // 2
    hand = by_hand(controller, tokens)
    assert len(hand) == space.layers * (space.layers - 1) // 2
    for (i, j), p in hand.items():
        assert matrix[i, j].item() == pytest.approx(p, abs=1e-6)


@pytest.fixture
def anchors():
    return view.anchor_map(controller_of(MACRO), sample(MACRO, 1), 0.5)


MACRO = spaces.MacroSpace(layers=5)


def test_threshold_moves_text_heat_map_and_network_together(anchors):
    counts = []
    for threshold in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchors.slider.value = threshold
        assert anchors.threshold == anchors.field.value == threshold
        chosen = int((anchors.matrix >= threshold).sum())
        assert f"{chosen} of 10 have a probability of at least {threshold:.2f}" in anchors.text
        assert len(frames(anchors.drawing)) == chosen
        skips = [d.row for d, t in zip(MACRO.decisions, anchors.tokens, strict=True) if d.kind == "skip" and t]
        assert skips == [(i, j) for i in range(5) for j in range(i) if anchors.matrix[i, j] >= threshold]
        assert view.architecture(MACRO, anchors.tokens).alt in anchors.drawing
        counts.append(chosen)
    assert counts == sorted(counts, reverse=True) and counts[0] == 10 and 0 < counts[2] < 10
    anchors.threshold = 0.5
    pictured = view.anchor_picture(controller_of(MACRO), sample(MACRO, 1), 0.5)
    assert pictured.alt.split(" Network")[0] in anchors.drawing
    ops = [
        [t for d, t in zip(MACRO.decisions, s, strict=True) if d.kind == "op"]
        for s in (anchors.tokens, sample(MACRO, 1))
    ]
    assert ops[0] == ops[1]


def frames(drawing):
    """Colour of the frame of each chosen square, by its skip connection."""
    squares = re.findall(r'<g class="(skip-\d+-\d+) chosen">.*?stroke="(#\w+)" stroke-width="3"/></g>', drawing)
    assert len(dict(squares)) == len(squares)
    return dict(squares)


@pytest.mark.parametrize("space", [MACRO, spaces.ConvSpace(layers=5)], ids=["macro", "conv"])
def test_a_square_has_the_colour_and_the_class_of_its_arc(space):
    anchors = view.anchor_map(controller_of(space), sample(space, 1), 0.0)  # all skips are chosen
    arcs = re.findall(r'<g class="edge (skip-\d+-\d+)"><path [^>]*stroke="(#\w+)"', anchors.drawing)
    assert len(arcs) == 10 and dict(arcs) == frames(anchors.drawing)
    assert len({*dict(arcs).values()}) == 3
    style = anchors.children[-1].value
    for name, _ in arcs:
        assert f".naslab-anchors:has(.{name}:hover) .edge.{name} " in style
    assert "naslab-anchors" in anchors._dom_classes
    for hint in ("layer 4 reads layer 0: ", "layer 1 reads layer 0: "):
        assert f'<title class="hint">{hint}' in anchors.drawing
    plain = view.architecture(space, anchors.tokens).svg
    assert "skip-" not in plain and len(re.findall('class="edge"', plain)) == anchors.drawing.count('class="edge')


def test_tossed_coins_come_up_with_their_probabilities(anchors):
    start = anchors.tokens, anchors.drawing
    count, ups = 400, torch.zeros(5, 5)
    for k in range(1, count + 1):
        anchors._tosses, anchors._tossed = k, anchors._skips.toss(anchors._generator, k)
        ups += anchors._tossed.bits
    p = anchors.matrix.nan_to_num(0.0)
    assert ((ups / count - p).abs() <= 4 * (p * (1 - p) / count).sqrt()).all() and (ups.triu() == 0).all()
    anchors.again.click()
    assert (anchors.tokens, anchors.drawing) == start and anchors.again.disabled


def test_a_toss_is_shown_until_the_threshold_is_used_again(anchors):
    start, seen = anchors.tokens, set()
    for k in range(1, 4):
        anchors.toss.click()
        skips = {d.row for d, t in zip(MACRO.decisions, anchors.tokens, strict=True) if d.kind == "skip" and t}
        assert f"{len(skips)} of 10 came up in toss {k}; on average {anchors.matrix.nansum():.1f} do" in anchors.text
        assert {*frames(anchors.drawing)} == {f"skip-{i}-{j}" for i, j in skips}
        assert view.architecture(MACRO, anchors.tokens).alt in anchors.drawing and not anchors.again.disabled
        assert f"{len(skips)} came up in toss {k}." in anchors.picture.alt
        seen.add(anchors.tokens)
    assert len(seen) == 3
    other = view.anchor_map(controller_of(MACRO), sample(MACRO, 1), 0.5)
    other.toss.click()
    other.toss.click()
    other.toss.click()
    assert other.tokens == anchors.tokens  # equal seeds
    other.slider.value = 0.51
    assert "have a probability of at least 0.51" in other.text and other.again.disabled
    anchors.threshold = 0.5  # as before the toss
    assert anchors.tokens == start and "of at least 0.50" in anchors.text


def test_anchor_map_writes_every_probability_and_no_other(anchors):
    numbers = re.findall(r">(\.\d\d|1\.0)</text>", anchors.drawing)
    assert numbers == [f"{anchors.matrix[i, j]:.2f}"[1:] for i in range(5) for j in range(i)]
    assert anchors._repr_mimebundle_()[0]["text/plain"] == "anchor map: 5 layers, 10 skip bits"


def test_anchor_map_of_a_deep_network():
    space = spaces.MacroSpace(layers=24)
    controller, tokens = controller_of(space), sample(space, 1)
    pictured = view.anchor_picture(controller, tokens)
    assert float(ET.fromstring(pictured.svg).get("width").removesuffix("px")) < 1500
    assert f"; 23: {view.skip_probabilities(controller, tokens)[23, 0]:.2f} " in pictured.alt


def test_anchor_map_refuses_what_has_no_skips_and_what_is_no_probability():
    for space in (spaces.nas_bench_201(), spaces.ConvSpace(3, skips=False), spaces.MacroSpace(1)):
        for make in (view.anchor_map, view.anchor_picture, view.skip_probabilities):
            with pytest.raises(ValueError, match="expected a ConvSpace or MacroSpace with skip bits"):
                make(controller_of(space), sample(space, 0))
    controller = controller_of(MACRO)
    for bad in (-0.1, 1.1, math.nan, "half"):
        for make in (view.anchor_map, view.anchor_picture):
            with pytest.raises(ValueError, match="threshold: got"):
                make(controller, sample(MACRO, 0), bad)
    with pytest.raises(ValueError, match="the space has 15 decisions"):
        view.anchor_map(controller, [0])
