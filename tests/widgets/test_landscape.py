"""The toy landscape: the trajectory is algorithm 1, and the drawing shows it."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from cases import plain
from hypothesis import given
from hypothesis import strategies as st
from test_view import SVG, texts

from naslab import view
from naslab.search import darts
from naslab.view import landscape, picture


def algorithm_1(start, xi, alpha_lr, w_lr, rounds):
    """By the gradient that a search uses, with its finite difference; (rounds + 1, 2)."""
    (a, w), points = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in start), [start]

    def loss(alpha, split):
        a = alpha["a"]
        return a * w - 2 * a + 1 if split == "valid" else (w - a) ** 2

    for _ in range(rounds):
        g = darts.alpha_gradient(loss, [w], {"a": a}, "train", "valid", xi)["a"]
        with torch.no_grad():
            a -= alpha_lr * g
            w -= w_lr * 2 * (w - a)
        points.append((a.item(), w.item()))
    return np.array(points)


SETTINGS = st.tuples(
    st.tuples(st.floats(-3, 3).filter(lambda a: abs(a) > 0.1), st.floats(-3, 3)),
    st.floats(0, 2),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
)


@given(SETTINGS)
def test_landscapes_trajectory_is_algorithm_1_and_rests_where_the_formula_says(setting):
    found, expected = landscape.trajectory(*setting, 6), algorithm_1(*setting, 6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    M, m = landscape.affine(*setting[1:])
    rest = np.linalg.solve(np.eye(2) - M, m)
    np.testing.assert_allclose(rest, 2 / (1 + 2 * setting[1]), rtol=1e-9)
    if np.abs(np.linalg.eigvals(M)).max() < 0.97:
        np.testing.assert_allclose(landscape.trajectory(*setting, 1000)[-1], rest, atol=1e-6)


def test_landscape_text_and_drawing_follow_every_slider():
    widget = view.toy_landscape()
    assert [s.description for s in widget.sliders.values()] == [
        "xi",
        "start: alpha",
        "start: w",
        "step of alpha",
        "step of w",
    ]
    assert "alpha = 1, w = 1, " in widget.text and "it converges" in widget.text
    for name, value in (("xi", 0.0), ("alpha", -1.5), ("w", 3.0), ("alpha_lr", 0.05), ("w_lr", 0.25)):
        before = widget.text, widget.drawing
        widget.sliders[name].value = value
        assert widget.drawing != before[1], name
        assert (widget.text == before[0]) == (name in {"alpha", "w"}), name  # the end depends on neither
    shown = view.landscape_picture(xi=0.0, start=(-1.5, 3.0), alpha_lr=0.05, w_lr=0.25)
    assert plain(widget) == shown.svg
    assert "alpha = w = 2 / (1 + 2 xi) = 2: validation loss 1; optimum 1: 0" in widget.text
    assert widget._repr_mimebundle_()[0]["text/plain"] == "toy landscape: 100 rounds of algorithm 1"


def test_landscape_marks_are_where_they_belong_and_differ_in_shape():
    pictured = view.landscape_picture(xi=0.5, start=(2.0, -2.0))
    assert {"start", "end", "optimum", "w = w*(alpha)"} <= set(texts(pictured))
    assert pictured.alt.startswith("From alpha = 2, w = -2, xi = 0.5; after 100 rounds: alpha = 1, w = 1, ")
    frame = next(e for e in ET.fromstring(pictured.svg).iter(f"{SVG}svg") if e.get("viewBox") == "0 0 350 350")
    path = [e for e in frame.iter(f"{SVG}polyline") if e.get("stroke") == picture.BLUE]
    (route,) = ([tuple(map(float, p.split(","))) for p in e.get("points").split()] for e in path)
    assert route[0] == (275, 275) and route[-1] == (225, 125) and len(route) == 101  # 50 pixels a unit, y downwards
    start, end = (e.get("points") for e in frame.iter(f"{SVG}polygon"))
    assert len(start.split()) == 4 and len(end.split()) == 3
    (ring,) = [e for e in frame.iter(f"{SVG}circle") if e.get("r") == "7.5"]
    assert (ring.get("cx"), ring.get("cy")) == ("225", "125")
    (feasible,) = [e for e in frame.iter(f"{SVG}polyline") if e.get("stroke-dasharray")]
    assert feasible.get("points") == "0,350 350,0"


def test_contours_have_one_loss_along_each_line_and_say_it():
    def loss_at(x, y):
        alpha, w = np.array(x) / 50 - 3.5, 3.5 - np.array(y) / 50
        return alpha * w - 2 * alpha + 1

    drawing = landscape._contours()
    lines = re.findall(r'<polyline points="([^"]+)"/>', drawing)
    losses = [loss_at(*zip(*(map(float, p.split(",")) for p in line.split()), strict=True)) for line in lines]
    assert {round(loss.mean()) for loss in losses} == set(range(-13, 16, 2))
    assert max(np.ptp(loss) for loss in losses) < 0.05
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>(-?\d+)<', drawing)
    assert len(labels) == 15
    for x, y, label in labels:
        assert loss_at(float(x), float(y) - 0.35 * 11) == pytest.approx(int(label), abs=0.05)


@pytest.mark.parametrize(
    ("setting", "verdict"),
    [
        ({"w_lr": 1.2, "alpha_lr": 1.2}, "it diverges; followed until round 6 only"),
        ({"w_lr": 1.0, "alpha_lr": 1.0}, "multiplied by 1.000 in each round: it neither nears nor flees"),
        ({"xi": 2.0, "start": (-3.0, 3.0)}, "alpha = 0.4, w = 0.4, validation loss 0.36"),
        ({"start": (0.0, 0.0)}, "it converges"),
        ({"w_lr": 1.45, "alpha_lr": 1e-3}, "it diverges"),
    ],
)
def test_landscape_says_when_there_is_no_end(setting, verdict):
    pictured = view.landscape_picture(**setting)
    assert verdict in pictured.alt and "nan" not in pictured.svg and "inf" not in pictured.svg


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"xi": -0.1}, "xi: got -0.1"),
        ({"start": (4.0, 0.0)}, "start: got (4.0, 0.0), expected (alpha, w), each from -3.5 to 3.5"),
        ({"start": (1.0,)}, "start: got (1.0,)"),
        ({"alpha_lr": 0.0}, "alpha_lr: got 0.0"),
        ({"w_lr": math.nan}, "w_lr: got nan"),
        ({"rounds": 0}, "rounds: got 0"),
    ],
)
def test_landscape_refuses_settings_outside_their_range(changed, message):
    for make in (view.toy_landscape, view.landscape_picture):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**changed)
