"""The duel against the dice: its chances against enumeration and draws, its picture, then the widget."""

import re
import xml.etree.ElementTree as ET
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_race import table_of
from test_view import SVG, texts

from naslab import spaces, tables, view
from naslab.view.duel import chance

TABLE = tables.nas_bench_201()
SMALL = table_of(spaces.CellSpace(("cell",), 1, 1, ("none", "skip_connect", "nor_conv_3x3"), None, output="last"))
OURS = (3, 3, 1, 0, 4, 3)
WIDGET = "application/vnd.jupyter.widget-view+json"


@given(st.integers(0, SMALL.space.strings - 1), st.integers(1, 4))
def test_the_chance_of_the_dice_is_that_of_all_draws(row, draws):
    """Every sequence of draws is equally likely: count those whose best is better."""
    tokens = tuple(SMALL.all_tokens[row].tolist())
    better = [max(seen) > SMALL.accuracies[row] for seen in product(SMALL.accuracies.tolist(), repeat=draws)]
    assert chance(SMALL, tokens, draws) == pytest.approx(np.mean(better), abs=1e-12)


def test_nothing_is_better_than_the_best_and_a_thousand_draws_beat_the_worst():
    worst = tuple(TABLE.all_tokens[int(TABLE.accuracies.argmin())].tolist())
    assert chance(TABLE, TABLE.best, 1000) == 0 and chance(TABLE, worst, 1000) > 1 - 1e-12
    for wrong in (0, -1, 1.5, None):
        with pytest.raises(ValueError, match="draws: got"):
            chance(TABLE, OURS, wrong)


def bars(drawing):
    found = [rect.attrib for rect in drawing.iter(f"{SVG}rect") if rect.attrib["fill"] == "#B9D6EA"]
    return [(float(a["x"]), float(a["x"]) + float(a["width"]), float(a["height"])) for a in found]


def test_the_bars_count_all_cells_and_the_marks_stand_in_their_bars():
    both = view.place_picture(TABLE, OURS, TABLE.best)
    drawing = ET.fromstring(both.svg)
    every = bars(drawing)
    tall = np.array([height for *_, height in every])
    low, high = np.floor(np.percentile(TABLE.accuracies, 10)), np.ceil(TABLE.accuracies.max())
    counts = np.histogram(np.maximum(TABLE.accuracies, low), np.linspace(low, high, len(every) + 1))[0]
    assert counts.sum() == 15_625 and np.allclose(tall / tall.max(), counts / counts.max(), atol=1e-4)
    for color, tokens in (("#0072B2", OURS), ("#D55E00", TABLE.best)):
        (line,) = [p for p in drawing.iter(f"{SVG}polyline") if p.attrib["stroke"] == color]
        x = float(line.attrib["points"].split(",")[0])
        at = int((TABLE.accuracy(tokens) - low) / (high - low) * len(every))
        assert every[at][0] - 0.1 <= x <= every[at][1] + 1.1
    said = texts(both)
    assert "you 88.42 %" in said and "dice 91.61 %" in said
    assert "dice" not in " ".join(texts(view.place_picture(TABLE, OURS)))
    assert (
        "you 88.42 percent, rank 5,595; dice 91.61 percent, rank 1" in view.place_picture(TABLE, OURS, TABLE.best).alt
    )


def said(duel):
    lines = re.findall(r"<div><b>(.*?):</b> <code>(.*?)</code></div>", duel.text)
    return dict(lines)


def test_a_click_changes_the_cell_and_what_is_known_about_it():
    duel = view.cell_duel(TABLE, OURS)
    before, drawing = said(duel), duel.drawing
    assert duel.tokens == OURS and before["your cell"] == "88.42 %, number 5,595 of 15,625"
    duel.choices["cell.3.1.op"].value = 3
    changed = (*OURS[:4], 3, OURS[5])
    assert duel.tokens == changed
    assert said(duel)["your cell"].startswith(f"{TABLE.accuracy(changed):.2f} %, number {TABLE.rank(changed):,} ")
    assert duel.drawing != drawing
    duel.draws.value = 100
    assert said(duel)["the best of 100 random cells is better"] == f"with probability {chance(TABLE, changed, 100):.1%}"
    duel.draws.value = 1
    assert "a random cell is better" in said(duel)
    duel.tokens = TABLE.best
    assert said(duel)["a random cell is better"] == "with probability 0.0%"


def test_a_bet_draws_the_cells_of_its_seed_and_keeps_the_score():
    duel = view.cell_duel(TABLE, OURS, seed=5)
    generator = torch.Generator().manual_seed(5)
    won = 0
    for draws in (1, 1, 1, 3, 3, 10):
        duel.draws.value = draws
        duel.bet.click()
        rival = max((TABLE.space.sample(generator) for _ in range(draws)), key=TABLE.accuracy)
        assert duel.rival == rival
        won += TABLE.accuracy(rival) < TABLE.accuracy(OURS)
        word = "you win" if TABLE.accuracy(rival) < TABLE.accuracy(OURS) else "the dice win"
        assert said(duel)["this bet"] == f"dice {TABLE.accuracy(rival):.2f} %: {word}"
    assert (duel.won, duel.lost) == (won, 6 - won) and 0 < won < 6
    assert said(duel)["score"] == f"you {won}, dice {6 - won}"
    duel.choices["cell.1.0.op"].value = 0  # another cell: the bet is over, the score stays
    assert duel.rival is None and "this bet" not in said(duel) and "score" in said(duel)


def test_the_bundle_has_the_widget_and_its_still():
    duel = view.cell_duel(TABLE, OURS)
    data, _ = duel._repr_mimebundle_()
    assert data[WIDGET] and data["image/svg+xml"] == duel.picture.svg
    assert repr(duel) == "cell duel: 6 edges, 15,625 cells"
    assert all(len(buttons.tooltips) == len(buttons.options) for buttons in (*duel.choices.values(), duel.draws))


def test_what_is_no_cell_is_refused():
    with pytest.raises(ValueError, match="table: got a table of MacroSpace"):
        view.cell_duel(table_of(spaces.MacroSpace(2)), (0, 0, 0))
    with pytest.raises(ValueError, match="token"):
        view.cell_duel(TABLE, (0,) * 5)
    with pytest.raises(ValueError, match="seed: got -1"):
        view.cell_duel(TABLE, OURS, seed=-1)
