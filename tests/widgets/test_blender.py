"""The mixed-op blender: weights, mixture and losses against numpy."""

import base64
import io
import math
import re
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
import torch
from cases import plain
from matplotlib.image import imread
from test_view import SVG

from naslab import runs, spaces, view
from naslab.networks import MixedOp
from naslab.view import picture
from naslab.view.blend import TEMPERATURES
from naslab.view.widgets import blender


def of_an_edge(names=spaces.DARTS_OPS, channels=3):
    with runs.seeded(2):
        return MixedOp(names, channels, 1, affine=False, pool_norm=True), torch.randn(4, channels, 10, 12)


OPINION = (1.0, -2.0, 0.5, 0.0, 3.0, -0.3, 0.0, 2.0)


def blended(edge, x, alpha, temperature):
    """Weights, mixture and outputs, by numpy, from the ops themselves."""
    w = np.exp(np.array(alpha) / temperature)
    w /= w.sum()
    outputs = np.stack([op(x).detach().double().numpy() for op in edge.ops.values()])
    return w, sum(a * o for a, o in zip(w, outputs, strict=True)), outputs


@pytest.mark.parametrize(("alpha", "temperature"), [((0.0,) * 8, 1.0), (OPINION, 1.0), (OPINION, 0.2), (OPINION, 10.0)])
def test_blender_says_what_the_mixture_is_and_what_rounding_loses(alpha, temperature):
    edge, x = of_an_edge()
    w, mixture, outputs = blended(edge, x, alpha, temperature)
    kept = 1 + int(w[1:].argmax())  # "none" is the first
    lost = np.linalg.norm(mixture - outputs[kept]) / np.linalg.norm(mixture)
    cosine = (mixture * outputs[kept]).sum() / np.linalg.norm(mixture) / np.linalg.norm(outputs[kept])
    widget = view.mixed_op_blender(edge, x, alpha, temperature=temperature)
    found = widget.blend
    np.testing.assert_allclose(found.weights, w, rtol=1e-12)
    np.testing.assert_allclose(found.mixture, mixture, atol=1e-6)
    assert found.kept == kept and widget.alpha == alpha
    assert found.lost == pytest.approx(lost, rel=1e-5)
    assert found.lost_in_shape == pytest.approx(math.sqrt(1 - cosine**2), rel=1e-4)
    assert found.effective == pytest.approx(math.exp(-(w * np.log(w)).sum()))
    pictured = view.blend_picture(edge, x, alpha, temperature=temperature)
    assert widget.picture.svg == pictured.svg and plain(widget).count("<svg") == 8 + 1
    chosen = f"{edge.names[kept]}, weight {w[kept]:.1%}"
    for words in (chosen, f"{lost:.0%} of the mixture", f"{found.effective:.1f} ops"):
        assert words in pictured.alt and words in widget.text
    assert all(f"{name} {a:.1%}" in pictured.alt for name, a in zip(edge.names, w, strict=True))


def test_blender_obeys_its_controls_and_draws_once(monkeypatch):
    edge, x = of_an_edge()
    widget = view.mixed_op_blender(edge, x)
    assert list(widget.sliders) == list(spaces.DARTS_OPS)
    seen = [(widget.text, widget.drawing)]
    for name, value in (("sep_conv_3x3", 2.5), ("none", 4.0), ("dil_conv_5x5", -4.0)):
        widget.sliders[name].value = value
        seen.append((widget.text, widget.drawing))
    widget.temperature.value = 0.5
    seen.append((widget.text, widget.drawing))
    assert all(len(set(column)) == len(seen) for column in zip(*seen, strict=True))
    text, drawing = widget.text, widget.drawing
    widget.channel.value = 2  # another map, the same numbers
    assert widget.text == text and widget.drawing != drawing and "channel 2" in widget.drawing
    drawn, draw = [], blender.draw
    monkeypatch.setattr(blender, "draw", lambda *a: drawn.append(a) or draw(*a))
    widget.zero.click()
    assert widget.alpha == (0.0,) * 8 and len(drawn) == 1
    widget.alpha = OPINION
    assert widget.alpha == OPINION and len(drawn) == 2
    with pytest.raises(ValueError, match="alpha: got"):
        widget.alpha = (5.0,) * 8
    assert widget.alpha == OPINION and len(drawn) == 2
    assert widget._repr_mimebundle_()[0]["text/plain"] == "mixed-op blender: 8 ops on (4, 3, 10, 12)"


def test_a_slider_stands_below_the_column_of_its_op_and_play_lowers_the_temperature():
    edge, x = of_an_edge()
    widget = view.mixed_op_blender(edge, x, OPINION, temperature=0.33)
    columns = [box.children for box in widget.children[1].children]
    assert [slider for _, slider in columns] == list(widget.sliders.values())
    for (column, slider), name, a in zip(columns, edge.names, OPINION, strict=True):
        assert f"alpha {a:.1f}" in column.value and f"The op {name}" in column.value and name in slider.tooltip
    assert sum("kept" in column.value for column, _ in columns) == 1
    temperatures = [t for _, t in widget.temperature.options]
    assert temperatures == sorted(temperatures, reverse=True) and {10, 1, 0.33, 0.1} < set(temperatures)
    assert (widget.play.min, widget.play.max) == (0, len(temperatures) - 1)
    assert temperatures[widget.play.value] == 0.33 == widget.temperature.value
    assert (widget._link.source, widget._link.target) == ((widget.play, "value"), (widget.temperature, "index"))
    widget.temperature.index = len(temperatures) - 1
    assert widget.blend.temperature == 0.1 and widget.blend.effective < 1.2


def test_the_plot_has_the_rounding_errors_of_every_temperature():
    edge, x = of_an_edge()
    svg = view.blend_picture(edge, x, OPINION, temperature=0.5).svg
    lines = [line.get("points").split() for line in ET.fromstring(svg).iter(f"{SVG}polyline")]
    plain_line, rescaled = ([float(p.split(",")[1]) for p in line] for line in lines if len(line) > 2)
    levels = [float(line[0].split(",")[1]) for line in lines if len(line) == 2][:4]  # 0, 50, 100 and 150 %
    for found, name in ((plain_line, "lost"), (rescaled, "lost_in_shape")):
        for y, t in zip(found, TEMPERATURES, strict=True):
            lost = getattr(view.mixed_op_blender(edge, x, OPINION, temperature=t).blend, name)
            expected = levels[0] + (levels[2] - levels[0]) * min(lost, 1.5)
            assert y == pytest.approx(expected, abs=0.01)


def test_raising_none_shrinks_the_mixture_and_leaves_its_shape():
    edge, x = of_an_edge()
    less, more = (view.mixed_op_blender(edge, x, (none, *OPINION[1:])).blend for none in (-4.0, 4.0))
    assert less.kept == more.kept and more.lost > 2 * less.lost
    assert more.lost_in_shape == pytest.approx(less.lost_in_shape, rel=1e-9)
    size = [blend.mixture.norm() for blend in (less, more)]
    assert size[1] < size[0] / 2 and torch.allclose(less.mixture / size[0], more.mixture / size[1])


def test_blend_picture_draws_the_maps_and_the_weights():
    edge, x = of_an_edge()
    w, mixture, outputs = blended(edge, x, OPINION, 1.0)
    root = ET.fromstring(view.blend_picture(edge, x, OPINION, channel=1).svg)
    pngs = [base64.b64decode(image.get("href").split(",")[1]) for image in root.iter(f"{SVG}image")]
    maps = [imread(io.BytesIO(png))[..., :3] for png in pngs]
    assert [m.shape for m in maps] == [(10, 12, 3)] * (8 + 4)
    limit = np.quantile(np.abs(outputs[:, 0, 1]), 0.995)
    kept = outputs[4]
    for found, values in zip(maps, (*outputs, x.numpy(), mixture, kept, mixture - kept), strict=True):
        expected = matplotlib.colormaps["PuOr_r"](np.clip(values[0, 1] / limit, -1, 1) / 2 + 0.5)[..., :3]
        np.testing.assert_allclose(found, expected, atol=0.02)
    fills = {picture.BLUE, picture.SKY}
    bars = [float(r.get("height")) for r in root.iter(f"{SVG}rect") if r.get("fill") in fills]
    np.testing.assert_allclose(np.array(bars) / sum(bars), w, atol=1e-4)
    framed = [r for r in root.iter(f"{SVG}rect") if r.get("stroke") == picture.VERMILLION]
    assert len(framed) == 2 and "kept: sep_conv_3x3" in "".join(root.itertext())


@pytest.mark.parametrize("names", [("skip_connect",), ("none", "max_pool_3x3"), ("nor_conv_1x1", *spaces.DARTS_OPS)])
def test_blend_picture_stays_inside_whatever_the_ops(names):
    edge, x = of_an_edge(names)
    pictured = view.blend_picture(edge, 0 * x if len(names) == 1 else x, temperature=0.1)
    assert "nan" not in pictured.svg and "inf" not in pictured.svg
    root = ET.fromstring(pictured.svg)
    width, height = (float(root.get(side).removesuffix("px")) for side in ("width", "height"))
    for piece in (*root.iter(f"{SVG}rect"), *root.iter(f"{SVG}image")):
        x, y, w, h = (float(piece.get(name)) for name in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"edge": torch.nn.ReLU()}, "edge: got ReLU, expected a MixedOp"),
        ({"edge": MixedOp(("none",), 3, 1, False)}, "expected a MixedOp with an op other than 'none'"),
        ({"x": torch.zeros(3, 10, 12)}, "x: got (3, 10, 12), expected maps (B, C, H, W)"),
        ({"alpha": [0.0] * 7}, "expected 8 numbers from -4 to 4"),
        ({"alpha": [math.nan] * 8}, "expected 8 numbers from -4 to 4"),
        ({"temperature": 0.0}, "temperature: got 0.0, expected a number from 0.1 to 10"),
        ({"channel": 3}, "channel: got 3, x has 3"),
        ({"channel": -1}, "channel: got -1"),
    ],
)
def test_blender_refuses_what_it_cannot_mix(changed, message):
    edge, x = of_an_edge()
    for make in (view.mixed_op_blender, view.blend_picture):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**{"edge": edge, "x": x} | changed)
