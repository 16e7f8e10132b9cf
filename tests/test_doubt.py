"""What a network makes of an image: its doubt in bits, and the picture of the image and the probabilities."""

import base64
import io
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from test_view import SVG, texts

from naslab.view.doubt import SHOWN, SIDE, bits_of_doubt, doubt_picture
from naslab.view.picture import BLUE

SHARES = st.lists(st.floats(0.001, 1), min_size=2, max_size=20).map(lambda all: np.array(all) / sum(all))


def image_in(pictured):
    """(H, W, 3), from 0 to 255, and the place that it takes: x, y, width, height."""
    (found,) = ET.fromstring(pictured.svg).iter(f"{SVG}image")
    png = base64.b64decode(found.get("href").removeprefix("data:image/png;base64,"))
    colours = np.rint(255 * imread(io.BytesIO(png))[..., :3]).astype(int)
    return colours, tuple(float(found.get(name)) for name in ("x", "y", "width", "height"))


def bars(pictured):
    """(name, width of the bar, percentage), from top to bottom."""
    words = texts(pictured)
    widths = [float(r.get("width")) for r in ET.fromstring(pictured.svg).iter(f"{SVG}rect") if r.get("fill") == BLUE]
    return [*zip(words[::2], widths, words[1::2], strict=True)]


@pytest.mark.parametrize("k", [1, 2, 3, 10, 1000])
def test_doubt_is_log2_k_if_all_are_alike_and_0_if_one_is_certain(k):
    assert bits_of_doubt(np.full(k, 1 / k)) == pytest.approx(math.log2(k), abs=1e-12)
    assert bits_of_doubt(np.eye(k)[0]) == 0


@given(SHARES, SHARES)
def test_doubt_is_between_both_and_adds_up_for_independent_classes(p, q):
    assert 0 <= bits_of_doubt(p) <= math.log2(len(p)) + 1e-12
    assert bits_of_doubt(np.outer(p, q).ravel()) == pytest.approx(bits_of_doubt(p) + bits_of_doubt(q), abs=1e-9)


def test_doubt_of_two_classes_has_the_closed_form_and_is_never_minus_0():
    assert bits_of_doubt(np.array([0.25, 0.75])) == pytest.approx(2 - 0.75 * math.log2(3), abs=1e-12)
    above = np.array([np.nextafter(np.float32(1), np.float32(2)), 0], np.float32)  # as float32 may round a softmax
    assert f"{bits_of_doubt(above):.2f}" == "0.00"


@given(SHARES)
def test_the_bars_are_in_the_order_of_probability(p):
    names = [f"class {k}" for k in range(len(p))]
    pictured = doubt_picture(np.zeros((1, 2, 2)), names, p)
    found = bars(pictured)
    order = sorted(range(len(p)), key=lambda k: -p[k])[:SHOWN]  # stable: of equals the first is first
    assert [name for name, *_ in found] == [names[k] for k in order]
    assert [share for *_, share in found] == [f"{p[k]:.1%}" for k in order]
    np.testing.assert_allclose([width for _, width, _ in found], np.maximum(240 * p[order], 0.5), rtol=1e-5)
    assert pictured.alt == "The image, and: " + ", ".join(f"{names[k]} {p[k]:.1%}" for k in order[:3])


@pytest.mark.parametrize(("height", "width"), [(3, 5), (5, 3), (1, 8), (224, 224)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("top", "kind"), [(255.0, np.uint8), (255.0, np.float32), (1.0, np.float32)])
def test_the_picture_shows_the_pixels(channels, height, width, top, kind):
    values = np.random.default_rng(0).integers(0, 256, (channels, height, width))
    pictured = doubt_picture((values * top / 255).astype(kind), ["a", "b"], np.array([0.5, 0.5]), top)
    colours, (x, y, w, h) = image_in(pictured)
    np.testing.assert_array_equal(colours, np.broadcast_to(values.transpose(1, 2, 0), (height, width, 3)))
    assert (x, y, max(w, h)) == (10, 10, SIDE) and w / h == pytest.approx(width / height, rel=1e-4)


def test_pixels_out_of_range_are_black_or_white():
    colours, _ = image_in(doubt_picture(np.array([[[-3.0, 0.2, 1.7]]]), ["a", "b"], np.array([0.5, 0.5]), top=1.0))
    assert colours[0].tolist() == [[0] * 3, [51] * 3, [255] * 3]


@pytest.mark.parametrize("name", ["<b>&amp;", "a\"b'c", "</text>", "<!--", "<title>x", "\0", "é 猫"])
def test_any_name_is_written_as_it_is(name):
    pictured = doubt_picture(np.zeros((1, 2, 2)), [name, "other"], np.array([0.75, 0.25]))
    shown = name.replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert texts(pictured) == [shown, "75.0%", "other", "25.0%"]
    (words,) = ET.fromstring(pictured.svg).iter(f"{SVG}desc")
    assert words.text == pictured.alt == f"The image, and: {shown} 75.0%, other 25.0%"


def test_all_stays_inside_and_a_long_name_is_cut():
    pictured = doubt_picture(np.zeros((3, 4, 4)), ["w" * 40, *"bcdefghijk"], np.eye(11)[0])
    root = ET.fromstring(pictured.svg)
    width, height = (float(root.get(side).removesuffix("px")) for side in ("width", "height"))
    assert texts(pictured)[0] == "w" * 14
    for words in root.iter(f"{SVG}text"):
        x, length = float(words.get("x")), 8 * len(words.text)  # a letter is about 8 wide
        left = x - length if words.get("text-anchor") == "end" else x
        assert left > 10 + SIDE and left + length <= width and float(words.get("y")) < height


@pytest.mark.parametrize(
    ("pixels", "probabilities"),
    [
        (np.zeros((2, 4, 4)), np.array([0.5, 0.5])),
        (np.zeros((4, 4)), np.array([0.5, 0.5])),
        (np.zeros((1, 1, 4, 4)), np.array([0.5, 0.5])),
        (np.zeros((1, 4, 4)), np.array([0.5, 0.25, 0.25])),
        (np.zeros((1, 4, 4)), np.array([[0.5, 0.5]])),
        (np.zeros((1, 4, 4)), np.array(1.0)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(pixels, probabilities):
    words = f"got pixels {pixels.shape}, probabilities {probabilities.shape} for 2 names, expected (1 or 3, H, W)"
    with pytest.raises(ValueError, match=re.escape(words)):
        doubt_picture(pixels, ["a", "b"], probabilities)
