"""Drawings, plots and widgets: what they show, that they say it in words too, and that their bytes stay the same."""

import hashlib
import html
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naslab import genotypes, runs, spaces, tables, view
from naslab.controller import Controller
from naslab.fleet import Span
from naslab.networks import MixedOp
from naslab.view import chart, figures, graphs, grid, layers, picture
from naslab.view.canvas import beside
from naslab.view.race import record
from naslab.view.timeline import timeline

SVG = "{http://www.w3.org/2000/svg}"

SPACES = {
    "darts_conv": spaces.darts_conv(),
    "darts_rnn": spaces.darts_rnn(),
    "enas_micro": spaces.enas_micro(),
    "enas_rnn": spaces.enas_rnn(),
    "nas_bench_201": spaces.nas_bench_201(),
    "macro": spaces.MacroSpace(layers=5),
    "conv": spaces.ConvSpace(),
    "conv_strides": spaces.ConvSpace(layers=3, strides=(1, 2, 3)),
    "conv_chain": spaces.ConvSpace(layers=3, skips=False),
    "tree": spaces.TreeSpace(),
    "tree_2": spaces.TreeSpace(base=2),
}


def sample(space, seed):
    return space.sample(torch.Generator().manual_seed(seed))


def texts(pictured):
    return [(t.text or "").strip() for t in ET.fromstring(pictured.svg).iter(f"{SVG}text")]


def edges(pictured):
    """(colour, dash pattern) of every arrow; a frame has no arrow head and invisible edges are not written."""
    groups = [g for g in ET.fromstring(pictured.svg).iter(f"{SVG}g") if g.get("class") == "edge"]
    return [(g.find(f"{SVG}path").get("stroke"), g.find(f"{SVG}path").get("stroke-dasharray")) for g in groups]


with runs.seeded(0):
    CONTROLLER = Controller(spaces.MacroSpace(layers=4), init=1.0)
    EDGE = MixedOp(spaces.DARTS_OPS, 2, 1, affine=False, pool_norm=True)
    MAPS = torch.randn(2, 2, 9, 9)
MACRO = sample(CONTROLLER.space, 0)


TURNS = (
    Span("replica 10", "pull", 0, 1),
    Span("replica 2", "pull", 0, 1),
    Span("replica 2", "children", 1, 6),
    Span("shard 0", "pull of replica 2", 0, 1),
    Span("worker 77", "child of replica 2", 3, 6),
    Span("worker 4711", "child of replica 10", 2, 3),
    Span("replica 10", "children", 1, 3),
    Span("replica 10", "push", 3, 4),
    Span("replica 10", "wait", 4, 12),
)


def all_pictures():
    rng = np.random.default_rng(0)
    x, y = np.arange(1, 21), rng.random((3, 20)).cumsum(1)
    words = {
        "xlabel": "steps",
        "ylabel": "accuracy (%)",
        "title": "A <title> & more",
        "alt": 'It says "<this>" & that.',
    }
    named = {"title": "Named", "alt": "Some things."}
    return {
        **{name: view.architecture(space, sample(space, 1)) for name, space in SPACES.items()},
        "curves": view.curves(x, {"a": (y[0], y[0] - 1, y[0] + 1), "b": y[1]}, reference=("best", 12.0), **words),
        "points": view.points({"all": (y[0], y[1]), "some": (y[1], y[2]), "best": (3.0, 4.0)}, **words),
        "many": view.points({"all": (rng.random(600), rng.random(600))}, **words),
        "bars": view.bars(["one", "two"], [1.0, 2.0], [0.1, 0.2], ylabel="accuracy (%)", **named),
        "crowd": view.bars(["two words or three", *["a name"] * 7, "two words"], np.arange(9.0), ylabel="%", **named),
        "histogram": view.histogram(y[0], [0, 4, 8, 12], marks={"here": 5.0, "there": 7.0}, **words),
        "heatmap": view.heatmap(y[:, :4], ["r0", "r1", "r2"], ["c0", "c1", "c2", "c3"], **named),
        "large": view.heatmap(rng.random((15, 15)), [*map(str, range(15))], [*map(str, range(15))], **named),
        "sandbox": view.policy_picture(repeats=20, updates=10),
        "decision": view.step_picture(CONTROLLER, MACRO, 6),
        "anchors": view.anchor_picture(CONTROLLER, MACRO, 0.5),
        "paths": view.path_picture(CONTROLLER.space, [sample(CONTROLLER.space, k) for k in range(5)], MACRO),
        "blend": view.blend_picture(EDGE, MAPS, [0.0, 1.0, 2.0, 0.0, 0.0, 0.5, 0.0, -1.0], channel=1),
        "landscape": view.landscape_picture(rounds=20),
        "race": view.race_picture(record(tables.nas_bench_201(), lookups=10), 7),
        "duel": view.place_picture(tables.nas_bench_201(), (3, 3, 1, 0, 4, 3), (0, 0, 0, 0, 0, 0)),
        "skeleton": view.skeleton_picture(),
        "simplex": view.simplex_picture((0.2, 0.5, 0.3), ("skip_connect", "nor_conv_3x3", "avg_pool_3x3")),
        "timeline": timeline(TURNS, end=9.0, marks={"a moment": 4.0}, **named),
        "images": view.images(rng.random((3, 1, 8, 8)), ["a", "b", "c"], **named),
    }


@pytest.fixture(scope="module")
def pictures():
    return all_pictures()


# Every picture


def test_every_picture_says_what_it_shows(pictures):
    for name, p in pictures.items():
        root = ET.fromstring(p.svg)
        title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert root.get("role") == "img", name
        assert root.get("aria-labelledby").split() == [title.get("id"), desc.get("id")], name
        assert title.text and desc.text == p.alt and len(p.alt) > 10, name
        assert len(list(root.iter(f"{SVG}title"))) == 1, name
        data, metadata = p._repr_mimebundle_()
        assert metadata["image/svg+xml"]["alt"] == data["text/plain"] == repr(p) == p.alt, name
        assert data["image/svg+xml"] == p.svg, name
        image = ET.fromstring(data["text/markdown"].replace('">', '"/>'))
        assert image.get("alt") == p.alt and image.get("src").startswith("data:image/svg+xml;base64,"), name


def test_ids_differ_between_pictures_that_share_a_page(pictures):
    ids = [ET.fromstring(p.svg).find(f"{SVG}title").get("id") for p in pictures.values()]
    assert len(set(ids)) == len(ids)
    for name in SPACES:
        ids = re.findall(r'\bid="([^"]*)"', pictures[name].svg)
        assert [i.split("-")[0] for i in ids] == ["title", "desc"], name


def places(element):
    """Lists of text elements. Those of a list have coordinates in the same system."""
    here = []
    for child in element:
        if child.tag == f"{SVG}text":
            here.append(child)
        elif child.tag == f"{SVG}svg" or "transform" in child.attrib:
            yield from places(child)
        else:
            *rest, first = places(child)
            here += first
            yield from rest
    yield here


def spans(elements):
    """(height, left, right, words) of texts that are not turned, a letter 0.55 as wide as it is high."""
    for t in elements:
        words, turned = (t.text or "").strip(), t.get("transform", "rotate(-0 ")
        if words and turned.startswith("rotate(-0 "):
            style = t.attrib | dict(part.split(": ") for part in t.get("style", "").split("; ") if part)
            width, x = 0.55 * float(style.get("font-size", "14").removesuffix("px")) * len(words), float(t.get("x"))
            left = x - {"start": 0, "middle": width / 2, "end": width}[style.get("text-anchor", "start")]
            yield round(float(t.get("y"))), left, left + width, words


def test_words_in_a_line_do_not_run_into_each_other(pictures):
    seen = 0
    for name, p in pictures.items():
        for elements in places(ET.fromstring(p.svg)):
            for (y, _, end, first), (z, start, _, second) in pairwise(sorted(spans(elements))):
                seen += y == z
                assert y != z or end <= start, (name, first, second)
    assert seen > 200


def test_nothing_in_a_picture_tells_when_where_or_by_what_it_was_made(pictures):
    for name, p in pictures.items():
        assert p.svg.startswith("<svg") and p.svg.isprintable() is False, name
        for word in ("<!--", "<metadata", "Generated by", "matplotlib.org", "dc:date", "<?xml", "<!DOCTYPE", 'pt"'):
            assert word not in p.svg, (name, word)


def test_same_bytes_in_another_process_whatever_the_readers_settings(pictures, tmp_path):
    (tmp_path / "matplotlibrc").write_text(
        "font.size: 31\nxtick.labelsize: 31\naxes.linewidth: 9\nsvg.fonttype: path\n"
    )
    here = {name: hashlib.sha256(p.svg.encode()).hexdigest() for name, p in pictures.items()}
    code = (
        "import hashlib, sys, test_view\n"
        "for name, p in test_view.all_pictures().items(): print(name, hashlib.sha256(p.svg.encode()).hexdigest())\n"
        "assert 'matplotlib.pyplot' not in sys.modules"  # its state would be global
    )
    tests = Path(__file__).parent
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "PYTHONHASHSEED": "7",
        "SOURCE_DATE_EPOCH": "7",
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == here


def test_plots_leave_matplotlibs_settings_alone():
    before = dict(matplotlib.rcParams)
    view.bars(["a"], [1.0], ylabel="y", title="t", alt="a bar")
    assert dict(matplotlib.rcParams) == before


def test_save_writes_the_same_bytes(pictures, tmp_path):
    pictures["tree"].save(tmp_path / "tree.svg")
    assert (tmp_path / "tree.svg").read_bytes() == pictures["tree"].svg.encode()


# Colours


def ratio(a, b):
    """WCAG's contrast, written down again."""

    def luminance(c):
        parts = [int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(
            k * (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4)
            for k, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True)
        )

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_wcags():
    assert figures.contrast("#000000", "#ffffff") == pytest.approx(21)
    for a in ("#0072B2", "#1A1A1A", "#777777"):
        assert figures.contrast(a, "#FDFDFB") == pytest.approx(ratio(a, "#FDFDFB"))


def test_text_is_readable_on_everything_it_is_written_on():
    for text in (picture.INK, picture.FAINT):
        for ground in (picture.PAPER, *picture.TINTS):
            assert ratio(text, ground) >= 4.5, (text, ground)


def test_numbers_of_steps_are_readable_on_every_shade():
    assert grid._shade(0) == "#FFFFFF" and grid._shade(1) == picture.SKY
    assert all(ratio(picture.INK, grid._shade(k / 20)) >= 4.5 for k in range(21))


def test_texts_in_pictures_use_no_other_colours(pictures):
    for name, p in pictures.items():
        for text in ET.fromstring(p.svg).iter(f"{SVG}text"):
            fill = text.get("fill") or re.search(r"fill: (#\w+)", text.get("style") + "; fill: #000000")[1]
            in_cells = {"#ffffff", "#000000"} if name in ("heatmap", "anchors") else set()
            allowed = {picture.INK.lower(), picture.FAINT.lower()} | in_cells
            assert fill.lower() in allowed, (name, text.text, fill)


def test_a_timeline_has_a_row_for_each_replica_and_worker(pictures):
    texts = re.findall(r">([^<>]+)</text>", pictures["timeline"].svg)
    rows = [text for text in texts if text.startswith(("replica", "worker", "shard"))]
    assert rows == ["replica 2", "replica 10", "worker 0", "worker 1"]  # worker 4711 began first
    numbers = [text for text in texts if text in ("2", "10")][-2:]
    assert set(numbers) == {"2", "10"} and "a moment" in texts
    assert {"pull", "its children train", "push", "waits for others"} <= set(texts)
    late = timeline(TURNS, start=7.0, title="t", alt="a")
    assert re.findall(r">((?:replica|worker|waits|pull)[^<>]*)</text>", late.svg) == ["replica 10", "waits for others"]
    with pytest.raises(ValueError, match="spans: got none of a replica or a worker between 20 and None s"):
        timeline(TURNS, start=20, title="t", alt="a")


@given(st.floats(0, 1))
def test_a_number_in_a_heat_map_is_readable_on_every_shade(value):
    shade = matplotlib.colors.to_hex(matplotlib.colormaps["cividis"](value))
    assert max(ratio("#000000", shade), ratio("#ffffff", shade)) >= 4.5


def test_every_picture_has_an_opaque_ground(pictures):
    for name, p in pictures.items():
        first = re.search(r"<(?:polygon|path)[^>]*>", p.svg.split("<g", 1)[1], flags=re.S)[0]
        assert picture.PAPER.lower() in first.lower(), name


def test_series_differ_by_more_than_colour():
    for signals in (figures.COLORS, figures.MARKERS, figures.LINES, figures.HATCHES, layers.ARCS):
        assert len(set(signals)) == len(signals) == 6
    for signals in zip(*chart._LOOKS, strict=True):
        assert len(set(signals)) == 4


# Architectures


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**31))
def test_every_architecture_is_drawn_and_every_choice_is_in_it(name, seed):
    space = SPACES[name]
    tokens = sample(space, seed)
    drawn = view.architecture(space, tokens)
    words, alt = texts(drawn), drawn.alt
    chosen = {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}
    if isinstance(space, spaces.CellSpace):
        found = [op for nodes in space.pairs(tokens).values() for node in nodes for _, op in node if op != "none"]
        assert sorted(w for w in words if w in space.ops) == sorted(found)
        for cell, nodes in space.pairs(tokens).items():
            for target, node in enumerate(nodes, space.inputs):
                terms = " + ".join(f"{op}({source})" for source, op in node if op != "none") or "nothing"
                assert f"{cell} node {target} = {terms}" in alt
                assert str(target) in words
    elif isinstance(space, spaces.MacroSpace):
        for i in range(space.layers):
            assert f"{i}: {chosen[f'{i}.op']}" in words and f"layer {i} {chosen[f'{i}.op']}" in alt
        skips = sum(chosen[d.name] for d in space.decisions if d.kind == "skip")
        assert len(edges(drawn)) == space.layers + 1 + skips
        assert sum(bool(dash) for _, dash in edges(drawn)) == skips
    elif isinstance(space, spaces.ConvSpace):
        for i in range(space.layers):
            size = f"{chosen[f'{i}.filter_height']}x{chosen[f'{i}.filter_width']} filters {chosen[f'{i}.filters']}"
            stride = f", stride {chosen[f'{i}.stride_height']}x{chosen[f'{i}.stride_width']}"
            assert f"{i}: {size}{stride * (space.strides != (1,))}" in words
    else:
        for i in range(space.nodes):
            assert f"{i}: {chosen[f'{i}.combine']}, {chosen[f'{i}.activation']}" in words
        assert f"inject: {chosen['inject.combine']}, {chosen['inject.activation']}" in words
        assert f"c_t = node {chosen['cell_index.0']} before its activation" in alt
        assert f"c_(t-1) injected into node {chosen['cell_index.1']}" in alt
        assert len(edges(drawn)) == space.base + 2 * (space.base - 1) + 3


@pytest.mark.parametrize(
    ("bits", "arrows", "dotted", "reads"),
    [
        # layers 0, 1, 2; bits 1.0, 2.0, 2.1. Arrows: inputs, image to layers without one, loose ends to the classifier.
        ((0, 0, 0), 6, 4, "classifier reads 0, 1, 2"),
        ((1, 0, 1), 4, 0, "classifier reads 2"),
        ((1, 1, 0), 5, 1, "classifier reads 1, 2"),
    ],
)
def test_conv_repairs_layers_without_input_and_without_reader(bits, arrows, dotted, reads):
    space = spaces.ConvSpace(layers=3)
    kinds = iter(bits)
    drawn = view.architecture(space, [next(kinds) if d.kind == "skip" else 0 for d in space.decisions])
    assert len(edges(drawn)) == arrows and reads in drawn.alt
    assert sum(dash == "1,5" for _, dash in edges(drawn)) == dotted


def test_loose_ends_and_unused_states():
    space = spaces.enas_rnn(nodes=3)
    loose = view.architecture(space, [0, 0, 0, 1, 1, 2])  # 1 reads 0, 2 reads 0, 3 reads 1: 2 and 3 are loose
    assert "recurrent output from nodes 2, 3." in loose.alt and len(edges(loose)) == 3 + 2
    lit = view.architecture(space, [0, 0, 0, 1, 1, 2], lit=True)
    assert [svg.count('stroke-width="3.5"') for svg in (loose.svg, lit.svg)] == [0, 4]  # lines and arrowheads
    assert [svg.count(f'fill="{layers.OUTPUT.lower()}"') for svg in (loose.svg, lit.svg)] == [1, 3]
    assert view.architecture(space, [0, 0, 0, 1, 1, 2], 5, lit=True) == view.architecture(space, [0, 0, 0, 1, 1, 2], 5)
    space = spaces.nas_bench_201()
    dead = view.architecture(space, [1, 1, 0, 1, 0, 0])
    assert dead == view.architecture(space, [1, 1, 0, 1, 0, 0], lit=True)
    dead = view.architecture(space, [1, 1, 0, 1, 0, 0])  # nothing reads nodes 1 and 2
    assert "cell states 1, 2 unused" in dead.alt and len(edges(dead)) == 3 + 1
    nothing = view.architecture(space, [0] * 6)
    assert "cell node 3 = nothing, all its edges are none" in nothing.alt and len(edges(nothing)) == 1


def test_alternative_text_follows_the_string():
    drawn = view.architecture(spaces.enas_micro(nodes=1), [0, 0, 1, 1, 1, 2, 1, 3])
    assert drawn.alt == (
        "Cells: normal, reduce. normal node 2 = sep_conv_3x3(0) + sep_conv_5x5(1); normal output from node 2; "
        "reduce node 2 = avg_pool_3x3(1) + max_pool_3x3(1); reduce output from node 2; reduce state 0 unused."
    )


def boxes(pictured):
    """The places of the boxes of a network drawn layer by layer."""
    rects = ET.fromstring(pictured.svg).iter(f"{SVG}rect")
    return [[r.get(name) for name in ("x", "y", "width", "height")] for r in rects]


@pytest.mark.parametrize("name", sorted(SPACES))
def test_what_is_not_decided_is_not_shown_and_the_rest_stays(name):
    space = SPACES[name]
    tokens = sample(space, 2)
    whole = view.architecture(space, tokens)
    assert view.architecture(space, tokens, len(tokens)) == whole
    drawn = [view.architecture(space, tokens, n) for n in range(len(tokens))]
    counts = [len(edges(p)) for p in drawn]
    assert counts == sorted(counts) and counts[-1] <= len(edges(whole))
    assert len({p.alt for p in drawn}) > 1 and all(p.alt != whole.alt for p in drawn[: len(drawn) // 2])
    if isinstance(space, spaces.MacroSpace | spaces.ConvSpace):
        assert all(boxes(p) == boxes(whole) for p in drawn)
        assert sum("?" in word for word in texts(drawn[0])) == space.layers
    other = list(tokens)  # what comes later must not leak into what is shown
    other[-1] = next(t for t in spaces.allowed(space.decisions[-1], tokens) if t != tokens[-1])
    later = view.architecture(space, other, len(tokens) - 1)
    assert later.alt == drawn[-1].alt and sorted(texts(later)) == sorted(texts(drawn[-1]))


def test_the_steps_of_a_cell_and_a_layer():
    space = spaces.enas_rnn(nodes=2)
    alts = [view.architecture(space, [0, 1, 1, 2], n).alt for n in range(5)]
    counts = [len(edges(view.architecture(space, [0, 1, 1, 2], n))) for n in range(5)]
    assert counts == [0, 1, 1, 2, 3]  # an edge appears with its source, the output's with the last decision
    assert "recurrent node 1 = not decided" in alts[0] and "node 1 = ?(0)" in alts[1]
    assert "node 1 = relu(0); recurrent node 2 = not decided" in alts[2]
    assert "output" not in alts[3] and "output from node 2" in alts[4]
    space = spaces.ConvSpace(layers=2, heights=(3,), widths=(5,), filters=(24, 36))
    alts = [view.architecture(space, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1], n).alt for n in (0, 1, 5, 10, 11)]
    assert "Nothing is decided" in alts[0] and "layer 0 3x? filters ? reads not decided" in alts[1]
    assert "layer 0 3x5 filters 36 reads the image." in alts[2]
    assert "layer 1 3x5 filters 24 reads not decided." in alts[3] and "classifier" not in alts[3]
    assert "layer 1 3x5 filters 24 reads 0; classifier reads 1." in alts[4]


def test_arcs_of_a_crowded_network_stay_inside_and_apart():
    space = spaces.MacroSpace()
    drawn = view.architecture(space, [int(d.kind == "skip") for d in space.decisions])  # every skip there is
    assert len(edges(drawn)) == 13 + 66
    root = ET.fromstring(drawn.svg)
    width = float(root.get("width").removesuffix("px"))
    assert width < 560  # beside a heat map on 1000 pixels
    arcs = [p.get("d") for p in root.iter(f"{SVG}path") if "C" in (p.get("d") or "")]
    ends = {tuple(float(n) for n in re.findall(r"[\d.]+", d)) for d in arcs}
    assert len(ends) == 66
    for x, _, bend, *_ in ends:
        assert 0 < x + 0.75 * (bend - x) < width


def test_the_published_enas_networks_are_drawn():
    space, tokens = genotypes.read_enas_micro(genotypes.ENAS_MICRO)
    micro = view.architecture(space, tokens)
    assert "reduce node 2 = sep_conv_3x3(1) + sep_conv_3x3(1)" in micro.alt  # a pair taken twice is two arrows
    assert (
        "normal output from nodes 2, 3, 4, 5, 6; " in micro.alt and "reduce output from nodes 2, 4, 5, 6." in micro.alt
    )
    assert len(edges(micro)) == 2 * 10 + 5 + 4
    for text, out in ((genotypes.ENAS_RNN, "7, 8"), (genotypes.ENAS_RNN_OLDER, "4, 5, 8, 10, 11, 12")):
        space, tokens = genotypes.read_enas_rnn(text)
        cell = view.architecture(space, tokens)
        assert f"recurrent output from nodes {out}." in cell.alt
        assert len(edges(cell)) == space.nodes + len(out.split(", "))
    space, tokens = genotypes.read_enas_macro(genotypes.ENAS_MACRO)
    assert len(edges(view.architecture(space, tokens))) == 25 + sum(
        t for d, t in zip(space.decisions, tokens, strict=True) if d.kind == "skip"
    )


def test_pictures_beside_each_other():
    left, right = view.architecture(SPACES["tree_2"], [0] * 10), view.architecture(SPACES["macro"], [0] * 15)
    both = beside("Both", left, right)
    root = ET.fromstring(both.svg)
    inner = [e for e in root.iter(f"{SVG}svg") if e is not root]
    sizes = [ET.fromstring(p.svg).get("width") for p in (left, right)]
    assert [e.get("width") for e in inner] == sizes and inner[1].get("x") == sizes[0].removesuffix("px")
    assert both.alt == f"{left.alt} {right.alt}" and {*texts(left), *texts(right)} <= {*texts(both)}


@pytest.mark.parametrize("decided", [-1, 7, "3", 2.0])
def test_decided_is_a_number_of_tokens(decided):
    with pytest.raises(ValueError, match=r"decided: got .* expected 0 to 6 tokens"):
        view.architecture(spaces.nas_bench_201(), [0] * 6, decided)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="the space has 6 decisions"):
        view.architecture(spaces.nas_bench_201(), [0])
    with pytest.raises(ValueError, match="space: got str"):
        view.architecture("cells", [0])


@pytest.mark.parametrize("base", [4, 8, 16])
def test_the_leaves_of_a_tree_stand_in_order_each_with_its_matrices(base):
    space = spaces.TreeSpace(base)
    for seed in range(5):
        drawn = view.architecture(space, space.sample(torch.Generator().manual_seed(seed)))
        leaves = [t for t in ET.fromstring(drawn.svg).iter(f"{SVG}text") if (t.text or "").startswith("W")]
        leaves.sort(key=lambda t: float(t.get("y")))
        assert [t.text for t in leaves] == [f"W{2 * n + 1} x_t, W{2 * n + 2} h_(t-1)" for n in range(base)]


def test_drawing_needs_no_dot(monkeypatch):
    monkeypatch.setenv("PATH", "")  # a kernel of an environment that was not activated
    assert Path(graphs._program()).stem == "graphviz-pure"
    monkeypatch.setattr(graphs.shutil, "which", lambda *a, **k: None)
    with pytest.raises(RuntimeError, match="pip install graphviz-pure"):
        view.architecture(spaces.nas_bench_201(), [0] * 6)


# Plots


def test_plots_write_the_words_and_numbers(pictures):
    assert {"a", "b", "best", "steps", "accuracy (%)"} <= set(texts(pictures["curves"]))
    assert {"all", "some", "best"} <= set(texts(pictures["points"]))
    assert {"one", "two", "1", "2"} <= set(texts(pictures["bars"]))
    assert {"here", "there", "steps"} <= set(texts(pictures["histogram"]))
    assert {"r0", "c3"} <= set(texts(pictures["heatmap"]))
    assert {"a", "b", "c", "Named"} <= set(texts(pictures["images"]))
    assert pictures["images"].svg.count("<image") == 3 and len(pictures["many"].svg) < 100_000


def test_plots_take_tensors_lists_and_arrays():
    x, y = [1, 2, 3], [0.1, 0.2, 0.3]
    words = {"xlabel": "x", "ylabel": "y", "title": "t", "alt": "a line that rises"}
    kinds = [y, np.array(y), torch.tensor(y, dtype=torch.float64, requires_grad=True)]
    assert len({view.curves(x, {"a": k}, **words).svg for k in kinds}) == 1


def test_curves_draw_runs_thin_and_name_them_once():
    words = {"xlabel": "x", "ylabel": "y", "title": "t", "alt": "eight runs"}
    runs = np.random.default_rng(0).random((8, 3))
    drawn = view.curves([1, 2, 3], {"mean": runs.mean(0), "each run": runs}, **words).svg
    thin = re.findall(r"stroke: (#[0-9a-f]+); stroke-opacity: 0.7; stroke-width: 0.9", drawn)
    assert len(thin) == 9 and len(set(thin)) == 1  # eight runs and their key
    assert thin[0] == figures.COLORS[1].lower()  # the second series has the second colour
    third = view.curves([1, 2, 3], {"runs": runs, "mean": runs.mean(0)}, **words).svg
    assert f"stroke: {figures.COLORS[1].lower()}" in third and f"stroke: {figures.COLORS[2].lower()}" not in third
    assert drawn.count(">each run</text>") == 1


def test_curves_on_logarithmic_axes():
    words = {"xlabel": "x", "ylabel": "y", "title": "t", "alt": "a straight line", "log": "xy"}
    drawn = view.curves([1, 10, 100, 1000], {"error": [1, 1e-2, 1e-4, 1e-6]}, **words)
    assert {"1", "10", "100", "1,000", "0.01", "1e-06"} <= set(texts(drawn))
    for x, y in (([0, 1], [1, 2]), ([1, 2], [1, 0])):
        with pytest.raises(ValueError, match="error: got numbers of 0 or less"):
            view.curves(x, {"error": y}, **words)
    with pytest.raises(ValueError, match="log: got 'z', expected"):
        view.curves([1, 2], {"error": [1, 2]}, **words | {"log": "z"})


def test_pictures_of_points_can_share_an_axis():
    words = {"xlabel": "x", "ylabel": "y", "title": "t", "alt": "points"}
    ticks = [texts(view.points({"a": ([1, 2], y)}, **words, ylim=(0, 8))) for y in ([1, 2], [5, 7])]
    assert ticks[0] == ticks[1] and "8" in ticks[0]
    assert "8" not in texts(view.points({"a": ([1, 2], [1, 2])}, **words))


@pytest.mark.parametrize("form", ["{:.0f}", "{:.2f}", "{:+.3f}"])
@pytest.mark.parametrize("columns", [2, 8, 10, 20])
def test_numbers_of_a_heatmap_are_as_large_as_fits_and_no_larger(columns, form):
    names = [*map(str, range(columns))]
    drawn = view.heatmap(np.full((1, columns), -8.0), ["r"], names, title="t", alt="a", form=form).svg
    number = form.format(-8.0)
    found = re.findall(
        rf'font-size: ([\d.]+)px;[^>]*? x="([\d.]+)"[^>]*>{re.escape(number)}<', drawn.replace("\u2212", "-")
    )
    sizes, places = np.array(found, dtype=float).T
    assert len(sizes) == columns and len(set(sizes)) == 1
    assert 0.64 * sizes[0] * len(number) < np.diff(places).min()  # a digit of this font is 0.64 of its size wide
    assert sizes[0] == 11 or sizes[0] * len(number) * columns > 850


def test_heatmap_writes_every_cell_of_a_weight_table():
    space = spaces.nas_bench_201()
    table = space.one_hot([0, 1, 2, 3, 4, 0])["cell"]
    drawn = view.heatmap(table, [f"{s}->{t}" for s, t in space.edges], space.ops, title="Weights", alt="One-hot rows.")
    assert texts(drawn).count("1.00") == 6 and texts(drawn).count("0") == 24


@pytest.mark.parametrize(
    "call",
    [
        lambda w: view.curves([1, 2], {"a": [1, 2, 3]}, xlabel="x", ylabel="y", **w),
        lambda w: view.curves([1, 2], {"a": ([1, 2], [1, 2])}, xlabel="x", ylabel="y", **w),
        lambda w: view.points({"a": ([1, 2], [1])}, xlabel="x", ylabel="y", **w),
        lambda w: view.bars(["a"], [1, 2], ylabel="y", **w),
        lambda w: view.heatmap([[1, 2]], ["a"], ["b"], **w),
        lambda w: view.images(np.zeros((2, 2, 4, 4)), ["a", "b"], **w),
        lambda w: view.images(np.zeros((2, 1, 4, 4)), ["a"], **w),
    ],
)
def test_plots_refuse_shapes_that_do_not_fit(call):
    with pytest.raises(ValueError, match=r"got .*expected"):
        call({"title": "t", "alt": "a"})


# The triangle of mixtures, and what surrounds a cell


def corners_and_point(weights):
    drawing = ET.fromstring(view.simplex_picture(weights, "abc").svg)
    circles = [*drawing.iter(f"{SVG}circle")]
    *corners, point = (np.array([float(c.get("cx")), float(c.get("cy"))]) for c in circles)
    (line,) = [p for p in drawing.iter(f"{SVG}polyline") if p.get("stroke") == picture.VERMILLION]
    return corners, point, np.array([[float(n) for n in xy.split(",")] for xy in line.get("points").split()])


@given(st.lists(st.floats(0.001, 1), min_size=3, max_size=3, unique=True))
def test_a_mixture_is_the_weighted_mean_of_its_corners_and_rounds_to_the_next_one(raw):
    weights = np.array(raw) / sum(raw)
    corners, point, line = corners_and_point(weights)
    assert np.allclose(point, weights @ corners, atol=0.01)
    assert np.allclose(line, [point, corners[weights.argmax()]], atol=0.01)


@pytest.mark.parametrize("wrong", [(0.5, 0.5), (0.5, 0.5, 0.0), (0.2, 0.2, 0.2), (1.2, -0.2, 0.0), (1.0, 0.0, np.nan)])
def test_what_is_no_mixture_of_three_is_refused(wrong):
    with pytest.raises(ValueError, match=r"weights: got .* expected a mixture of three ops"):
        view.simplex_picture(wrong, "abc")


def test_the_skeleton_says_its_parts_in_order():
    said = view.skeleton_picture(channels=8, cells=1, classes=10).alt
    wide = ("8 channels", "16 channels", "32 channels")
    assert said.startswith("The network around the cells, in order: image; conv 3x3, 8 channels; cell; halve, 16 ")
    assert said.count("; cell;") == 3 and [said.index(w) for w in wide] == sorted(said.index(w) for w in wide)
    for wrong in ({"channels": 0}, {"cells": 1.5}, {"classes": None}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: got"):
            view.skeleton_picture(**wrong)


# Source


def test_source_shows_the_code_and_where_it_lives():
    for shown, module, start in (
        (spaces.allowed, "protocol", "def allowed("),
        (spaces.CellSpace.discretise, "cells", "def discretise("),
        (spaces.ConvSpace.check, "common", "def check("),
        (spaces.ConvSpace.attributes, "layers", "@property\ndef attributes("),
        (spaces.ConvSpace.decisions, "layers", "@cached_property\ndef decisions("),
        (spaces.Decision, "protocol", "@dataclass(frozen=True)\nclass Decision:"),
    ):
        found = view.source(shown)
        assert found.data.startswith(f"`naslab/spaces/{module}.py`\n\n```python\n{start}")
        page = found._repr_html_()  # colours and escapes change no character
        code = html.unescape(re.sub(r"<span style=\"color: var\(--jp-[a-z-]+, #\w{6}\)\">|</span>", "", page))
        assert code == f"<p><code>{found.place}</code></p><pre>{found.code}</pre>" and page.count("<span") > 5
    for foreign in (os.path.join, len, 3, "text", None):
        with pytest.raises(ValueError, match="expected a module, class or function of naslab"):
            view.source(foreign)


# Whatever words a picture gets


NAMES = st.text(max_size=12) | st.sampled_from(
    [
        "\x00",
        "a\x01b",
        "\ud800",
        "\\",
        "\\N",
        "<b>",
        "<i>&",
        "]]>",
        "-->",
        '"',
        "$x$",
        "$\\bad$",
        "a:b",
        "\ufffe",
        "{x|y}",
    ]
)


def drawings(first, second):
    """Every kind of drawing, with these names wherever it takes one."""
    ops = (spaces.NONE, f"{first}1", f"{second}2")
    words = {"xlabel": first, "ylabel": second, "title": first, "alt": second}
    cells = spaces.CellSpace((f"{first}3", f"{second}4"), 2, inputs=1, ops=ops, fan_in=None)
    tree = spaces.TreeSpace(2, combine=(f"{first}5", f"{second}6"), activation=(f"{second}7", f"{first}8"))
    yield view.architecture(cells, (1, 2, 1) * 2)
    yield view.architecture(tree, sample(tree, 0))
    yield view.architecture(spaces.MacroSpace(2, ops), (1, 2, 1))
    yield view.path_picture(spaces.MacroSpace(2, ops[1:]), [(0, 1, 1)])
    yield view.curves([1, 2], {first: [1, 2], f"{second}9": [2, 1]}, reference=(second, 1.0), **words)
    yield view.points({first: (1, 2), f"{second}9": ([1, 2], [2, 1])}, **words)
    yield view.bars([first, second], [1, 2], xlabel=first, ylabel=second, title=first, alt=second)
    yield view.histogram([1, 2], [0, 1, 3], marks={first: 1.0}, **words)
    yield view.heatmap([[1.0, 2.0]], [first], [first, second], **words)
    yield view.images(np.zeros((1, 2, 2)), [first], title=second, alt=first)
    yield chart.chart({first: chart.Line(0, np.arange(2.0))}, xlabel=first, title=second, alt=first)


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:.*[Ll]egend", "ignore:constrained_layout", "ignore:Matplotlib")
@settings(max_examples=15, deadline=None)
@given(NAMES, NAMES)
def test_a_picture_is_well_formed_whatever_the_names_in_it(first, second):
    for drawn in drawings(first, second):
        assert ET.fromstring(drawn.svg.encode()).tag == f"{SVG}svg"
        html = drawn._repr_mimebundle_()[0]["text/markdown"]
        assert html.encode() and ET.fromstring(html.replace('">', '"/>').encode()).tag == "img"


@pytest.mark.parametrize("name", ["\\", "a\\nb", "\\N", "<b>x</b>", "a:b", '"quoted"', "$x$", "{a|b}", "x->y"])
def test_a_name_is_drawn_as_it_is(name):
    cells = spaces.CellSpace((f"{name}.",), 2, inputs=1, ops=(spaces.NONE, name), fan_in=None)
    assert f"{name}." in texts(view.architecture(cells, (1, 1, 1)))
    assert texts(view.architecture(cells, (1, 1, 1))).count(name) == 3
    assert {name, f"{name}!"} <= {*texts(view.bars([name, "b"], [1, 2], ylabel=f"{name}!", title="t", alt="a"))}


def test_what_xml_may_not_hold_is_replaced_and_everything_else_kept():
    assert picture.safe("a\x00b\x1f\ud800\ufffe\uffff") == "a\ufffdb\ufffd\ufffd\ufffd\ufffd"
    for text in ("plain \t\n <&> é 中 \U0001f600", "".join(map(chr, range(0x20, 0x7F)))):
        assert picture.safe(text) == text
