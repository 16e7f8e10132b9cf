"""The search scrubber: weights, cell and loss of every frame."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from cases import recorded
from test_view import SVG

from naslab import spaces, view
from naslab.view import picture


@pytest.mark.parametrize("space", [spaces.darts_conv(2), spaces.darts_rnn(4), spaces.nas_bench_201()], ids=str)
def test_scrubber_shows_weights_cell_and_loss_of_every_frame(space):
    frames = recorded(space)
    scrubber = view.search_scrubber(space, iter(frames), "loss here")
    for k, frame in enumerate(frames):
        scrubber.frame = k
        assert scrubber.slider.label == str(frame.step) and scrubber.frame == k
        assert f"<code>{frame.step} (frame {k + 1} of 12)</code>" in scrubber.text
        assert f"<b>loss here:</b> <code>{frame.value:.3f}</code>" in scrubber.text
        kept = space.discretise(frame.weights)
        assert scrubber.cell == view.canvas.inline(view.architecture(space, kept))
        shown = ET.fromstring(scrubber.tables)
        numbers = [e.text for e in shown.iter(f"{SVG}text") if re.fullmatch(r"[01]\.\d\d", e.text or "")]
        expected = [f"{w:.2f}" for table in frame.weights.values() for w in table.flatten().tolist()]
        assert numbers == expected
        framed = [r for r in shown.iter(f"{SVG}rect") if r.get("stroke") == picture.VERMILLION]
        assert len(framed) == sum(len(node) for nodes in space.pairs(kept).values() for node in nodes)
        pictured = view.search_picture(space, frames, k, "loss here")
        assert (
            pictured.alt.endswith(view.architecture(space, kept).alt) and f"is {frame.value:.3f} here" in pictured.alt
        )
        (cursor,) = [e for e in shown.iter(f"{SVG}circle") if e.get("r") == "5"]
        curve, legend = [
            e.get("points").split() for e in shown.iter(f"{SVG}polyline") if e.get("stroke") == picture.BLUE
        ]
        assert len(curve) == len(frames) and len(legend) == 2
        assert curve[k] == f"{cursor.get('cx')},{cursor.get('cy')}"


def test_scrubber_frames_stand_on_what_rounding_keeps():
    space, tokens = spaces.darts_conv(2), (0, 3, 1, 2, 1, 2, 2, 3) * 2
    weights = {t: (0.1 + w) / (0.1 + w).sum(-1, keepdim=True) for t, w in space.one_hot(tokens).items()}
    shown = ET.fromstring(view.search_picture(space, [view.Frame(7, weights, 1.0)]).svg)
    boxes = [r for r in shown.iter(f"{SVG}rect") if r.get("width") == "58" and r.get("fill") != "none"]
    assert len(boxes) == 2 * 5 * 8
    places = {(r.get("x"), r.get("y")) for r in shown.iter(f"{SVG}rect") if r.get("fill") == "none"}
    expected = {k for k, w in enumerate(torch.cat([*space.one_hot(tokens).values()]).flatten()) if w}
    assert {k for k, r in enumerate(boxes) if (r.get("x"), r.get("y")) in places} == expected


def test_scrubber_says_what_changed():
    space = spaces.nas_bench_201(2)
    frames = [view.Frame(k, space.one_hot(tokens), 1.0) for k, tokens in enumerate([(1, 2, 3), (1, 4, 3), (1, 4, 3)])]
    scrubber = view.search_scrubber(space, frames)
    for frame, said in enumerate(("nothing", "cell 0→2 avg_pool_3x3", "nothing")):
        scrubber.frame = frame
        assert f"<b>changed here:</b> <code>{said}</code>" in scrubber.text


def test_scrubber_draws_each_cell_once(monkeypatch):
    space, drawn = spaces.darts_conv(2), []
    frames = recorded(space, 4)
    frames += [view.Frame(100 + k, frames[-1].weights, 0.5) for k in range(20)]
    monkeypatch.setattr(view.recording, "architecture", lambda *a: drawn.append(a[1]) or view.architecture(*a))
    scrubber = view.search_scrubber(space, frames)
    for k in [*range(24), *reversed(range(24))]:
        scrubber.slider.value = k
    assert len(drawn) == len(set(drawn)) == len({space.discretise(f.weights) for f in frames})
    for frame in (-1, -2, 3):
        scrubber.frame = frame
        assert "this cell since:</b> <code>step 9; cells so far: 4" in scrubber.text
    scrubber.frame = -1
    assert scrubber._repr_mimebundle_()[0]["text/plain"] == "search scrubber: 24 frames, steps 0 to 119"


def test_a_recording_is_what_it_was_when_it_was_made():
    space = spaces.darts_rnn(2)
    frames = [view.Frame(f.step, {t: w.double() for t, w in f.weights.items()}, f.value) for f in recorded(space, 2)]
    scrubber = view.search_scrubber(space, frames)
    before = scrubber.tables
    with torch.no_grad():
        frames[0].weights["recurrent"].zero_()
    scrubber.frame = 1
    assert scrubber.tables != before
    scrubber.frame = 0
    assert scrubber.tables == before
    alone = view.search_picture(space, frames[1:], 0)  # one frame, of a constant
    assert "nan" not in alone.svg and view.search_picture(space, frames[1:]) == alone


def test_scrubber_refuses_what_is_no_recording():
    space = spaces.darts_rnn(2)
    first, second = recorded(space, 2)
    raw = {"recurrent": torch.zeros(space.tables["recurrent"])}
    for frames, message in (
        ([], "frames: got none"),
        ([second, first], "frames: got step 0 after 3, expected rising steps"),
        (
            [first, view.Frame(3, raw, 1.0)],
            "step 3 has rows of recurrent that do not add up to 1, expected mixing weigh",
        ),
        ([view.Frame(3, {}, 1.0)], "weights: got []"),
        ([view.Frame(3, first.weights, math.nan)], "step 3 has the value nan"),
    ):
        for make in (view.search_scrubber, view.search_picture):
            with pytest.raises(ValueError, match=re.escape(message)):
                make(space, frames)
    with pytest.raises(ValueError, match="space: got MacroSpace, expected CellSpace"):
        view.search_scrubber(spaces.MacroSpace(2), [first])
    scrubber = view.search_scrubber(space, [first, second])
    for bad in (2, -3, "1", 0.5):
        with pytest.raises(ValueError, match=r"frame: got .*, expected -2 to 1"):
            scrubber.frame = bad
    assert scrubber.frame == 0
