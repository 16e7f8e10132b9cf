"""The predictor: draw, upload or pick an image. Its drawing pad runs in a browser, without JupyterLab."""

import datetime
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from cases import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import sync_playwright
from promise import FLAGS, chromium

from naslab.view.doubt import bits_of_doubt, doubt_picture
from naslab.view.widgets import predictor as module
from naslab.view.widgets.predictor import predictor

NAMES = ("top left", "top right", "bottom left", "<b>&c")


def brightness(pixels):
    """(N, 4): the softmax of the mean of each quarter, for pixels (N, C, H, W) up to 255."""
    means = [half.mean((1, 2, 3)) for rows in np.array_split(pixels, 2, 2) for half in np.array_split(rows, 2, 3)]
    e = np.exp(np.stack(means, 1) / 51)
    return e / e.sum(1, keepdims=True)


def lit(quarter, channels=1, value=255, size=8):
    """An image with one bright quarter."""
    pixels = np.zeros((channels, size, size), np.uint8)
    half = size // 2
    pixels[:, half * (quarter // 2) :, half * (quarter % 2) :][:, :half, :half] = value
    return pixels


def of_quarters(channels=1, examples=None, top=255.0, predict=brightness):
    return predictor(predict, NAMES, (channels, 8, 8), examples, top)


def file_of(pixels, kind="PNG", name="a.png", **options):
    """The bytes of an image (H, W) or (H, W, C)."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind, **options)
    return raw(written.getvalue(), name)


def raw(content, name="a.png"):
    """A file as `FileUpload` has it."""
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return {"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": when}


def upload(widget, file):
    widget.upload.value = (file,)


def test_what_is_drawn_changes_the_prediction():
    widget = of_quarters()
    seen = []
    for quarter in (1, 3, 0, 2):
        widget.pad.value = lit(quarter).ravel().tolist()
        p = brightness(lit(quarter)[None].astype(np.float32))[0]
        np.testing.assert_array_equal(widget.probabilities, p)
        assert widget.probabilities.argmax() == quarter
        assert f"{html.escape(NAMES[quarter])} with {p[quarter]:.1%}, then " in widget.text
        assert f"{bits_of_doubt(p):.2f} of 2.00 bits" in widget.text
        assert plain(widget) == doubt_picture(lit(quarter), NAMES, p).svg == widget.picture.svg
        seen.append((widget.text, widget.drawing))
    assert all(len(set(column)) == 4 for column in zip(*seen, strict=True))
    assert repr(widget) == "predictor: images (1, 8, 8), 4 classes"


def test_a_blank_pad_is_the_greatest_doubt_and_of_equals_the_first_is_named():
    widget = of_quarters()
    assert not widget.pixels.any() and "top left with 25.0%, then top right with 25.0%" in widget.text
    assert "2.00 of 2.00 bits" in widget.text


@pytest.mark.parametrize("channels", [1, 3])
def test_next_example_steps_and_begins_again(channels):
    examples = np.stack([lit(2, channels), lit(0, channels, 200), lit(3, channels)])
    widget = of_quarters(channels, examples)
    for step in range(7):
        np.testing.assert_array_equal(widget.pixels, examples[step % 3])
        widget.example.click()


def test_clear_empties_the_pad_and_the_next_example_follows_the_last():
    widget = of_quarters(examples=np.stack([lit(1), lit(2)]))
    widget.clear.click()
    assert widget.pad.value == [0] * 64 and "2.00 of 2.00 bits" in widget.text
    widget.example.click()
    np.testing.assert_array_equal(widget.pixels, lit(2))


def test_without_examples_the_button_is_off():
    for none in (None, np.zeros((0, 1, 8, 8))):
        widget = of_quarters(examples=none)
        assert widget.example.disabled and not widget.pixels.any()
        widget.example.click()
        assert not widget.pixels.any()
    assert not of_quarters(examples=lit(0)[None]).example.disabled


def test_each_move_asks_the_network_once_and_about_the_pixels_shown():
    asked = []
    widget = of_quarters(3, np.stack([lit(q, 3) for q in range(4)]), predict=lambda x: asked.append(x) or brightness(x))
    for move in (
        widget.example.click,
        widget.clear.click,
        lambda: upload(widget, file_of(lit(1, 3).transpose(1, 2, 0))),
        lambda: setattr(widget.pad, "value", lit(3, 3, 9).transpose(1, 2, 0).ravel().tolist()),
    ):
        before = len(asked)
        move()
        assert len(asked) == before + 1
        assert asked[-1].shape == (1, 3, 8, 8) and asked[-1].dtype == np.float32
        np.testing.assert_array_equal(asked[-1][0], widget.pixels)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([1, 3]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([1.0, 255.0, 0.5, 3, 65535]),
    st.integers(0, 99),
)
def test_pixels_make_the_round_trip_through_the_pad(channels, size, top, seed):
    levels = np.random.default_rng(seed).integers(0, 256, (1, channels, *size))
    image = (levels * float(top) / 255).astype(np.float32)
    asked = []
    widget = predictor(lambda x: asked.append(x) or np.array([[0.25, 0.75]]), "ab", (channels, *size), image, top)
    assert widget.pad.value == levels[0].transpose(1, 2, 0).ravel().tolist()
    assert widget.pad.shape == [*size, channels]
    np.testing.assert_array_equal(widget.pixels, image[0])
    np.testing.assert_array_equal(asked[-1], image)


def test_every_level_of_every_kind_of_number_is_kept():
    levels = np.arange(256).reshape(1, 1, 16, 16)
    for kind in (np.uint8, np.int64, np.float32, np.float64):
        widget = predictor(lambda x: np.array([[0.5, 0.5]]), "ab", (1, 16, 16), levels.astype(kind))
        assert widget.pad.value == [*range(256)]
    widget = predictor(lambda x: np.array([[0.5, 0.5]]), "ab", (1, 16, 16), levels / 255, top=1.0)
    np.testing.assert_array_equal(widget.pixels.ravel(), np.arange(256, dtype=np.float32) / 255)


def test_examples_beyond_the_range_are_cut():
    widget = predictor(lambda x: np.array([[0.5, 0.5]]), "ab", (1, 1, 3), np.array([[[[-1.0, 0.4, 2.0]]]]), top=1.0)
    assert widget.pad.value == [0, 102, 255]


def test_a_png_is_shown_as_it_is():
    random = np.random.default_rng(0)
    grey, colour = random.integers(0, 256, (8, 8), np.uint8), random.integers(0, 256, (8, 8, 3), np.uint8)
    widget = of_quarters()
    upload(widget, file_of(grey))
    np.testing.assert_array_equal(widget.pixels, grey[None])
    upload(widget, file_of(colour))
    np.testing.assert_array_equal(widget.pixels[0], Image.fromarray(colour).convert("L"))
    widget = of_quarters(3)
    upload(widget, file_of(colour))
    np.testing.assert_array_equal(widget.pixels, colour.transpose(2, 0, 1))
    upload(widget, file_of(grey))
    np.testing.assert_array_equal(widget.pixels, np.stack([grey] * 3))


def test_an_upload_has_the_scale_of_the_network():
    widget = of_quarters(top=1.0)
    upload(widget, file_of(lit(1, value=51)[0]))
    np.testing.assert_array_equal(widget.pixels, lit(1, value=51) / np.float32(255))
    assert plain(widget) == doubt_picture(lit(1, value=51), NAMES, widget.probabilities).svg


def test_a_jpeg_is_shown_nearly_as_it_is():
    widget = of_quarters(3)
    upload(widget, file_of(lit(2, 3).transpose(1, 2, 0), "JPEG", "a.jpg", quality=100))
    assert np.abs(widget.pixels - lit(2, 3)).max() < 20 and widget.probabilities.argmax() == 2


def test_what_is_transparent_becomes_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :4, 3] = 255  # black, the rest is transparent
    pixels[4:, 4:] = (255, 0, 0, 51)  # a fifth of red
    expected = np.full((8, 8, 3), 255)
    expected[:4, :4], expected[4:, 4:] = 0, (255, 204, 204)
    widget = of_quarters(3)
    upload(widget, file_of(pixels))
    np.testing.assert_array_equal(widget.pixels, expected.transpose(2, 0, 1))
    assert not widget.error.value


def test_a_file_of_another_shape_is_cut_to_its_middle():
    wide = np.full((20, 60), 7, np.uint8)
    wide[:, 10:50] = 250
    widget = predictor(brightness, NAMES, (1, 4, 8))
    upload(widget, file_of(wide))
    assert widget.pixels.shape == (1, 4, 8) and (widget.pixels[..., 1:-1] == 250).all()
    upload(widget, file_of(wide.T))
    assert (widget.pixels == 250).all()


def broken(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"Dear reader,\n<b>this is text</b>", "neither PNG nor JPEG"),
        (broken(bytes(file_of(np.eye(64, dtype=np.uint8))["content"])), ""),
        (broken(bytes(file_of(np.eye(64, dtype=np.uint8), "JPEG")["content"])), ""),
        (bytes(file_of(np.eye(8, dtype=np.uint8), "GIF")["content"]), "neither PNG nor JPEG"),
    ],
    ids=["empty", "text", "half a PNG", "half a JPEG", "GIF"],
)
def test_an_unreadable_file_is_named_and_the_image_stays(content, words):
    widget = of_quarters(examples=lit(3)[None])
    text, drawing = widget.text, widget.drawing
    for _ in range(2):
        upload(widget, raw(content))
        assert re.fullmatch(f"<b>This file cannot be read: .*{words}.*</b>", widget.error.value)
        np.testing.assert_array_equal(widget.pixels, lit(3))
        assert (widget.text, widget.drawing) == (text, drawing)


def test_the_message_of_an_unreadable_file_is_escaped(monkeypatch):
    def refuse(content):
        raise module.Unreadable("<script>")

    monkeypatch.setattr(module, "decoded", refuse)
    widget = of_quarters()
    upload(widget, file_of(lit(0)[0]))
    assert "&lt;script&gt;" in widget.error.value and "<script" not in widget.error.value


@pytest.mark.parametrize(
    "move",
    [
        lambda widget: upload(widget, file_of(lit(1)[0])),
        lambda widget: upload(widget, file_of(lit(3)[0])),  # the image that is shown already
        lambda widget: widget.example.click(),
        lambda widget: widget.clear.click(),
        lambda widget: setattr(widget.pad, "value", lit(0).ravel().tolist()),
    ],
    ids=["upload", "the same image", "example", "clear", "drawing"],
)
def test_a_good_move_takes_the_error_away(move):
    widget = of_quarters(examples=lit(3)[None])
    upload(widget, raw(b"text"))
    assert widget.error.value
    move(widget)
    assert widget.error.value == ""


def test_the_same_file_can_be_uploaded_again():
    widget = of_quarters()
    file = file_of(lit(2)[0])
    for _ in range(2):
        widget.clear.click()
        upload(widget, file)
        np.testing.assert_array_equal(widget.pixels, lit(2))
    sent = {"name": "a.png", "type": "image/png", "size": 1, "last_modified": 0, "content": file["content"]}
    for _ in range(2):  # as the page sends it
        widget.clear.click()
        widget.upload.set_state({"value": [sent]})
        np.testing.assert_array_equal(widget.pixels, lit(2))


def test_the_bundle_has_a_still_picture_of_what_is_shown():
    widget = of_quarters(examples=lit(0)[None])
    widget.pad.value = lit(1).ravel().tolist()
    data, metadata = widget._repr_mimebundle_()
    still = doubt_picture(lit(1), NAMES, widget.probabilities)
    assert data["image/svg+xml"] == still.svg and metadata == {"image/svg+xml": {"alt": still.alt}}
    assert data["text/plain"] == repr(widget)
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": ["only"]}, "names: got 1, expected at least 2"),
        ({"names": []}, "names: got 0, expected at least 2"),
        ({"names": "abcde"}, "probabilities (4,) for 5 names"),
        ({"names": "abc"}, "probabilities (4,) for 3 names"),
        ({"predict": lambda x: np.array([0.1, 0.2, 0.3, 0.4])}, "probabilities () for 4 names"),
        ({"shape": (8, 8)}, "shape: got (8, 8), expected (1 or 3, height, width)"),
        ({"shape": (1, 8)}, "shape: got (1, 8)"),
        ({"shape": (1, 0, 8)}, "shape[1]: got 0, expected an int of at least 1"),
        ({"shape": (1, 8, 1025)}, "shape[2]: got 1025"),
        ({"shape": (1, 8.0, 8)}, "shape[1]: got 8.0"),
        ({"shape": (2, 8, 8)}, "expected (N, 1 or 3, height, width)"),
        ({"examples": np.zeros((1, 8, 8))}, "examples: got (1, 8, 8)"),
        ({"examples": np.zeros((2, 3, 8, 8))}, "examples: got (2, 3, 8, 8)"),
        ({"examples": np.zeros((2, 1, 8, 9))}, "examples: got (2, 1, 8, 9)"),
        ({"top": 0}, "top: got 0, expected a number above 0"),
        ({"top": -1.0}, "top: got -1.0"),
        ({"top": float("nan")}, "top: got nan"),
        ({"top": "255"}, "top: got '255'"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        predictor(**{"predict": brightness, "names": NAMES, "shape": (1, 8, 8)} | changed)


def test_numpys_numbers_and_lists_are_a_shape():
    widget = predictor(brightness, [*NAMES], [*np.array([1, 8, 8])], [lit(1).tolist()], np.float32(255))
    assert repr(widget) == "predictor: images (1, 8, 8), 4 classes" and widget.probabilities.argmax() == 1


# The drawing pad in a browser, with a model as anywidget gives it to a module

START = """async ([source, shape, value]) => {
    const module = await import(URL.createObjectURL(new Blob([source], {type: "text/javascript"})));
    const heard = [];
    window.state = {shape, value};
    window.saved = [];
    window.model = {
        get: name => window.state[name],
        set: (name, value) => { window.state[name] = value; },
        save_changes: () => { window.saved.push(JSON.stringify(window.state.value)); },
        on: (name, hear) => { if (name === "change:value") heard.push(hear); },
    };
    window.fromPython = value => { window.state.value = value; heard.forEach(hear => hear()); };
    const el = document.getElementById("pad");
    el.replaceChildren();
    module.default.render({model: window.model, el});
}"""
COLOUR_AT = """([i, j, height, width]) => {
    const canvas = document.querySelector("canvas");
    const [x, y] = [(j + 0.5) / width * canvas.width, (i + 0.5) / height * canvas.height];
    return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
}"""


class PadPage:
    """The pad in a page."""

    def __init__(self, page):
        self.page, self.canvas = page, page.locator("canvas")

    def start(self, height, width, channels=1, value=None, within="auto"):
        self.shape = height, width, channels
        self.page.set_content(f"<body style='margin:30px'><div id='pad' style='width:{within}'></div></body>")
        source = Path(module.__file__).with_name("pad.js").read_text(encoding="utf-8")
        flat = value or [0] * (height * width * channels)
        self.page.evaluate(START, [source, [*self.shape], flat])

    @property
    def value(self):
        """The value that the model has, which must be whole numbers from 0 to 255."""
        flat = self.page.evaluate("state.value")
        assert len(flat) == np.prod(self.shape) and all(type(v) is int and 0 <= v <= 255 for v in flat)
        return np.array(flat).reshape(self.shape)

    @property
    def saves(self):
        return self.page.evaluate("saved.length")

    def lit(self):
        """The pixels that are not black."""
        return {(int(i), int(j)) for i, j in np.argwhere(self.value.any(2))}

    def colour(self, i, j):
        return self.page.evaluate(COLOUR_AT, [i, j, *self.shape[:2]])

    def middle(self, i, j):
        """The middle of a pixel on the page. The canvas has a border of 1 pixel."""
        box = self.canvas.bounding_box()
        w, h = box["width"] - 2, box["height"] - 2
        return box["x"] + 1 + (j + 0.5) * w / self.shape[1], box["y"] + 1 + (i + 0.5) * h / self.shape[0]

    def drag(self, *pixels, steps=1):
        """One stroke. Between two pixels the pointer sends as many moves as `steps`."""
        self.page.mouse.move(*self.middle(*pixels[0]))
        self.page.mouse.down()
        for pixel in pixels[1:]:
            self.page.mouse.move(*self.middle(*pixel), steps=steps)
        self.page.mouse.up()


@pytest.fixture(scope="module")
def browser():
    if (program := chromium()) is None:
        pytest.skip("no Chromium here: install chromium or Google Chrome, or set CHROMIUM to its path")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, headless=True, args=[*FLAGS])
        yield started
        started.close()


@pytest.fixture
def pad(browser):
    page, errors = browser.new_page(viewport={"width": 600, "height": 500}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield PadPage(page)
    page.close()
    assert errors == []


@pytest.mark.slow
def test_arrows_move_space_paints_and_delete_clears(pad):
    pad.start(6, 8)
    pad.canvas.focus()
    pad.page.keyboard.press("Space")
    assert pad.lit() == {(3, 4)} and pad.saves == 1
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft", "Space", "ArrowRight", "ArrowDown", "Space"):
        pad.page.keyboard.press(key)
    assert pad.lit() == {(3, 4), (1, 3), (2, 4)} and pad.saves == 3  # a move sends nothing
    for _ in range(3):
        pad.page.keyboard.press("ArrowUp")  # out at the top, in at the bottom
    pad.page.keyboard.press("Space")
    assert pad.lit() == {(3, 4), (1, 3), (2, 4), (5, 4)} and (pad.value.max(), pad.saves) == (255, 4)
    pad.page.keyboard.press("Delete")
    assert pad.lit() == set() and pad.saves == 5
    pad.page.keyboard.press("a")
    assert pad.saves == 5


@pytest.mark.slow
def test_the_keys_of_the_pad_go_no_further(pad):
    """JupyterLab would scroll, or cut and move between cells."""
    pad.start(4, 4)
    pad.page.evaluate("document.addEventListener('keydown', e => { window.heard = [...window.heard ?? [], e.key]; })")
    pad.canvas.focus()
    for key in ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Space", "Delete", "Escape"):
        pad.page.keyboard.press(key)
    assert pad.page.evaluate("heard") == ["Escape"]
    assert pad.canvas.get_attribute("data-lm-suppress-shortcuts") == "true"  # JupyterLab hears keys before the pad


@pytest.mark.slow
def test_the_pad_has_a_name_and_shows_where_the_keys_paint(pad):
    pad.start(4, 4)
    assert pad.page.get_by_role("application", name="Drawing pad. Arrow keys move").count() == 1
    blank = pad.canvas.screenshot()
    pad.page.keyboard.press("Tab")
    focused = pad.canvas.screenshot()
    pad.page.keyboard.press("ArrowUp")
    assert len({blank, focused, pad.canvas.screenshot()}) == 3
    pad.canvas.blur()
    assert pad.canvas.screenshot() == blank


@pytest.mark.slow
def test_a_drag_paints_the_pixels_under_it_and_sends_once(pad):
    pad.start(12, 10)
    pad.drag((2, 1), (2, 8), (9, 8), steps=20)
    assert pad.lit() == {(2, j) for j in range(1, 9)} | {(i, 8) for i in range(2, 10)}
    assert pad.saves == 1
    pad.drag((11, 0))  # a click
    assert (11, 0) in pad.lit() and pad.saves == 2
    pad.page.mouse.move(*pad.middle(6, 2))  # no button is down
    assert (6, 2) not in pad.lit() and pad.saves == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end"), [((0, 0), (0, 27)), ((27, 3), (2, 3)), ((0, 0), (27, 27)), ((3, 2), (9, 25)), ((25, 20), (4, 1))]
)
def test_a_quick_drag_leaves_no_gap(pad, start, end):
    """The pointer sends one move for the whole way."""
    pad.start(28, 28)
    pad.drag(start, end)
    lit = pad.lit()
    (i, j), (down, right) = start, np.subtract(end, start)
    steps = max(abs(down), abs(right))
    assert {start, end} <= lit and len(lit) == steps + 1 and pad.saves == 1
    for y, x in lit:  # at most half a pixel from the line
        assert abs((y - i) * right - (x - j) * down) <= steps / 2
    longer = 0 if abs(down) >= abs(right) else 1
    assert {pixel[longer] for pixel in lit} == {
        *range(min(start[longer], end[longer]), max(start[longer], end[longer]) + 1)
    }


@pytest.mark.slow
def test_a_stroke_may_leave_the_pad_and_come_back(pad):
    pad.start(8, 8)
    x, y = pad.middle(3, 6)
    pad.page.mouse.move(x, y)
    pad.page.mouse.down()
    pad.page.mouse.move(x + 200, y)
    pad.page.mouse.move(*pad.middle(5, 6))
    pad.page.mouse.move(x + 200, y + 400)
    pad.page.mouse.up()  # outside
    assert {(3, 6), (3, 7), (5, 6)} <= pad.lit() and pad.saves == 1
    pad.page.mouse.move(x, y)
    pad.page.mouse.up()
    pad.page.mouse.move(580, 480)  # a stroke that begins outside is none
    pad.page.mouse.down()
    pad.page.mouse.move(*pad.middle(0, 0))
    pad.page.mouse.up()
    assert (0, 0) not in pad.lit() and pad.saves == 1


@pytest.mark.slow
def test_only_the_main_button_paints_and_a_cancelled_stroke_ends(pad):
    pad.start(8, 8)
    pad.page.mouse.move(*pad.middle(1, 1))
    pad.page.mouse.down(button="right")
    pad.page.mouse.up(button="right")
    assert pad.lit() == set() and pad.saves == 0
    pad.page.mouse.down()
    pad.canvas.dispatch_event("pointercancel")
    pad.page.mouse.move(*pad.middle(5, 5))
    pad.page.mouse.up()
    assert pad.lit() == {(1, 1)} and pad.saves == 1


@pytest.mark.slow
def test_colours_are_painted_in_three_channels(pad):
    pad.start(5, 4, channels=3)
    pad.page.get_by_label("Colour of the brush").fill("#ff8001")
    pad.drag((1, 1), (1, 3))
    pad.page.get_by_label("Colour of the brush").fill("#0000ff")
    pad.canvas.focus()
    pad.page.keyboard.press("Space")
    expected = np.zeros((5, 4, 3))
    expected[1, 1:], expected[2, 2] = (255, 128, 1), (0, 0, 255)
    np.testing.assert_array_equal(pad.value, expected)
    assert pad.colour(1, 2) == [255, 128, 1] and pad.colour(4, 0) == [0, 0, 0]
    pad.start(5, 4)
    assert pad.page.get_by_label("Colour of the brush").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 1), (4, 6, 1), (6, 4, 3), (30, 30, 1), (9, 224, 3)])
def test_every_pixel_of_a_value_is_drawn_and_a_new_value_redraws(pad, height, width, channels):
    random = np.random.default_rng(0)
    first, second = random.integers(0, 256, (2, height, width, channels))
    pad.start(height, width, channels, first.ravel().tolist())
    for shown in (first, second):
        places = [(0, 0), (height - 1, width - 1), (height // 2, width // 3)]
        for i, j in places:
            assert pad.colour(i, j) == np.broadcast_to(shown[i, j], 3).tolist()
        pad.page.evaluate("value => fromPython(value)", second.ravel().tolist())
    assert pad.saves == 0
    pad.canvas.focus()
    pad.page.keyboard.press("Space")  # paints on the new value
    expected = second.copy()
    expected[height // 2, width // 2] = 255
    np.testing.assert_array_equal(pad.value, expected)


@pytest.mark.slow
def test_in_a_narrow_place_the_pad_keeps_its_proportions_and_its_aim(pad):
    pad.start(8, 16, within="100px")
    box = pad.canvas.bounding_box()
    assert box["width"] <= 102 and (box["width"] - 2) / (box["height"] - 2) == pytest.approx(2, rel=0.03)
    for pixel in ((0, 0), (7, 15), (4, 9), (0, 15)):
        pad.drag(pixel)
        assert pixel in pad.lit()
    assert len(pad.lit()) == pad.saves == 4


@pytest.mark.slow
def test_values_sent_earlier_do_not_change_later(pad):
    pad.start(4, 4)
    pad.drag((0, 0))
    pad.page.evaluate("window.first = state.value")
    pad.drag((3, 3))
    assert pad.page.evaluate("[first.filter(v => v).length, state.value.filter(v => v).length]") == [1, 2]
