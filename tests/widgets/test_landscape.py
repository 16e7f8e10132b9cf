"""The toy landscape: the trajectory is algorithm 1, and the drawing shows it."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
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
    names = [s.description for s in (*widget.sliders.values(), widget.slider)]
    assert names == ["ξ", "start: α", "start: w", "step of α", "step of w", "round"]
    assert "α = 1, w = 1, " in widget.text and "it converges" in widget.text
    for name, value in (("xi", 0.0), ("alpha", -1.5), ("w", 3.0), ("alpha_lr", 0.05), ("w_lr", 0.25)):
        before = widget.text, widget.drawing
        widget.sliders[name].value = value
        assert widget.drawing != before[1], name
        assert (widget.text == before[0]) == (name in {"alpha", "w"}), name  # the end depends on neither
    setting = {"xi": 0.0, "start": (-1.5, 3.0), "alpha_lr": 0.05, "w_lr": 0.25}
    for at in (100, 3, 0):
        widget.slider.value = at
        assert widget.picture == view.landscape_picture(**setting, at=at)
        assert f"after {at} rounds:" in widget.text
    assert "α = w = 2 / (1 + 2ξ) = 2: validation loss 1; optimum 1: 0" in widget.text
    assert widget._repr_mimebundle_()[0]["text/plain"] == "toy landscape: 100 rounds of algorithm 1"
    assert widget._repr_mimebundle_()[0]["image/svg+xml"] == widget.picture.svg


def test_play_and_step_go_round_by_round_and_show_both_steps_of_the_next():
    widget = view.toy_landscape(xi=0.0, rounds=12)
    assert (widget.play.min, widget.play.max, widget.slider.value) == (0, 12, 12)
    assert widget._link.source[0] is widget.play and widget._link.target == (widget.slider, "value")
    assert widget.next.disabled and not widget.back.disabled
    widget.slider.value = 0
    assert widget.back.disabled and not widget.next.disabled
    points = landscape.trajectory((2.0, -2.0), 0.0, 0.1, 0.1, 12)
    for at in range(12):
        alpha, w = points[at + 1]
        moves = f"first α from {points[at, 0]:.4g} to {alpha:.4g}, then w from {points[at, 1]:.4g} to {w:.4g}"
        assert f"after {at} rounds:" in widget.text and moves in widget.text
        walked, following = blue(widget.picture), green(widget.picture)
        assert len(walked) == at + 1
        assert [corner[0] for corner in following] == pytest.approx([at_x(points[at, 0]), *[at_x(alpha)] * 2], abs=0.06)
        assert [corner[1] for corner in following] == pytest.approx([*[at_y(points[at, 1])] * 2, at_y(w)], abs=0.06)
        widget.next.click()
    assert widget.slider.value == 12 and "nothing: this is the last round" in widget.text
    assert not green(widget.picture)
    widget.back.click()
    assert widget.slider.value == 11


def test_rounds_after_a_trajectory_has_left_the_picture_show_its_end():
    widget = view.toy_landscape(alpha_lr=1.2, w_lr=1.2)
    assert "after 6 rounds:" in widget.text and "followed until round 6 only" in widget.text
    widget.back.click()
    assert widget.slider.value == 5 and "after 5 rounds:" in widget.text


def at_x(alpha):
    return 50 * (alpha + 3.5)


def at_y(w):
    return 50 * (3.5 - w)


def lines(pictured, color):
    """The corners of the last line of a colour in the map."""
    frame = next(e for e in ET.fromstring(pictured.svg).iter(f"{SVG}svg") if e.get("viewBox") == "0 0 350 350")
    found = [e.get("points") for e in frame.iter(f"{SVG}polyline") if e.get("stroke") == color]
    return [tuple(map(float, p.split(","))) for p in found[-1].split()] if found else []


def blue(pictured):
    return lines(pictured, picture.BLUE)


def green(pictured):
    return lines(pictured, picture.GREEN)


def test_landscape_marks_are_where_they_belong_and_differ_in_shape():
    pictured = view.landscape_picture(xi=0.5, start=(2.0, -2.0))
    assert {"start", "end", "optimum", "w = w*(α)"} <= {*texts(pictured)} and "next" not in texts(pictured)
    assert {"start", "now", "next"} <= {*texts(view.landscape_picture(at=3))}
    assert pictured.alt.startswith("From α = 2, w = -2, ξ = 0.5; after 100 rounds: α = 1, w = 1, ")
    frame = next(e for e in ET.fromstring(pictured.svg).iter(f"{SVG}svg") if e.get("viewBox") == "0 0 350 350")
    route = blue(pictured)
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
    assert [int(label) for *_, label in labels] == [*range(-13, 16, 4)]
    for x, y, label in labels:
        assert loss_at(float(x), float(y) - 0.35 * 11) == pytest.approx(int(label), abs=0.05)


@pytest.mark.parametrize(
    ("setting", "verdict"),
    [
        ({"w_lr": 1.2, "alpha_lr": 1.2}, "it diverges; followed until round 6 only"),
        ({"w_lr": 1.0, "alpha_lr": 1.0}, "multiplied by 1.000 in each round: it neither nears nor flees"),
        ({"xi": 2.0, "start": (-3.0, 3.0)}, "α = 0.4, w = 0.4, validation loss 0.36"),
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


@pytest.mark.parametrize("at", [-1, 13, 0.5])
def test_landscape_refuses_a_round_that_there_is_not(at):
    with pytest.raises(ValueError, match=re.escape(f"at: got {at}, expected an int of at least 0")):
        view.landscape_picture(rounds=12, at=at)
