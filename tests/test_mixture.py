"""Cells of mixed ops: widths of ribbons, the list of strongest ops, and what is refused."""

import re
import xml.etree.ElementTree as ET

import pytest
import torch
from test_view import SVG

from naslab import spaces, view

SPACE = spaces.darts_conv(2)
SPACES = [SPACE, spaces.darts_conv(4), spaces.darts_rnn(3), spaces.nas_bench_201()]


def drawn_random(space):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(space.edges), len(space.ops), generator=generator).softmax(-1)


def ribbons(svg):
    """`edge op` -> (weight in percent, width in pixels at the source)."""
    found = {}
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if (words := path.find(f"{SVG}title")) is not None:
            name, percent = words.text.rsplit(" ", 1)
            numbers = [*map(float, re.findall(r"-?[\d.]+", path.get("d")))]
            found[name] = float(percent.rstrip("%")), numbers[-1] - numbers[1]
    return found


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.cells[0]} {space.nodes}")
def test_a_ribbon_is_divided_in_proportion_to_the_weights(space):
    table = drawn_random(space)
    picture = view.mixed_cells(space, {"any": table})
    found = ribbons(picture.svg)
    assert len(found) == table.numel()
    for (source, target), row in zip(space.edges, table.tolist(), strict=True):
        for op, weight in zip(space.ops, row, strict=True):
            percent, width = found[f"{source} → {target} {op}"]
            assert percent == pytest.approx(100 * weight, abs=0.06) and width == pytest.approx(26 * weight, abs=0.01)
        op = space.ops[max(range(len(row)), key=row.__getitem__)]
        assert f"{source} → {target} {op} {max(row):.0%}" in picture.alt
    root = ET.fromstring(picture.svg)
    width, height = (float(root.get(side).removesuffix("px")) for side in ("width", "height"))
    for path in root.iter(f"{SVG}path"):
        if path.find(f"{SVG}title") is not None:
            numbers = [*map(float, re.findall(r"-?[\d.]+", path.get("d")))]
            assert all(0 <= x <= width for x in numbers[::2]) and all(-45 <= y <= height for y in numbers[1::2])
    states = [t.text for t in root.iter(f"{SVG}text")]
    assert {str(s) for s in range(space.inputs + space.nodes)} <= set(states) and {*space.ops} <= set(states)


def test_several_cells_stand_side_by_side_and_an_edge_without_weights_is_not_drawn():
    tokens = [0, 3, 1, 2, 1, 2, 2, 3] * 2
    corner = SPACE.one_hot(tokens)["normal"]
    uniform = torch.full_like(corner, 1 / 8)
    picture = view.mixed_cells(SPACE, {"start": uniform, "rounded": corner})
    assert "start: 0 → 2 every op 12%" in picture.alt and "0 → 3 not kept" in picture.alt
    assert picture.svg.count("<g transform") == 1 and len(ribbons(view.mixed_cells(SPACE, {"c": corner}).svg)) == 4
    assert picture.svg == view.mixed_cells(SPACE, {"start": uniform, "rounded": corner}).svg


@pytest.mark.parametrize(
    ("space", "tables", "message"),
    [
        (spaces.MacroSpace(2), {"a": torch.zeros(2, 6)}, "space: got MacroSpace, expected CellSpace"),
        (SPACE, {}, "tables: got none"),
        (SPACE, {"a": torch.zeros(5, 7)}, r"a: got (5, 7), expected a table of (5, 8)"),
        (SPACE, {"a": [1.0]}, "expected a table of (5, 8)"),
        (SPACE, {"a": torch.full((5, 8), 0.2)}, "rows add up to at most 1"),
        (SPACE, {"a": torch.full((5, 8), -0.1)}, "weights of at least 0"),
    ],
)
def test_what_is_no_mixed_cell_is_refused(space, tables, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        view.mixed_cells(space, tables)
