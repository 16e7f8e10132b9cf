"""The search race: its recording against the searches run by hand, its picture, then the widget."""

import re
import xml.etree.ElementTree as ET
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from cases import plain
from hypothesis import given
from hypothesis import strategies as st
from test_view import SVG, texts

from naslab import runs, spaces, steps, tables, view
from naslab.controller import Controller
from naslab.search import evolution, qlearning, random_search, reinforce
from naslab.tables import Table
from naslab.view import race as racing
from naslab.view import scoreboard

NAMES = ["random search", "evolution", "Q-learning", "REINFORCE"]
ORDER = scoreboard.LOOKS


def table_of(space, seeds=5, noise=1.0, name="a table"):
    """Accuracies that add up over the decisions, and noise between the trainings."""
    random = np.random.default_rng(0)
    strings = np.array([*spaces.all_strings(space)])
    effects = [random.normal(0, 2, len(d.options))[strings[:, k]] for k, d in enumerate(space.decisions)]
    mean = 75 + sum(effects) + random.normal(0, 0.5, len(strings))
    valid = mean + noise * random.normal(size=(seeds, len(strings)))
    return Table(name, space, valid, np.ones(len(strings)), np.ones(len(strings)))


CELLS = table_of(spaces.nas_bench_201(nodes=2))
MACRO = table_of(spaces.MacroSpace(2))
CONV = spaces.ConvSpace(2, filters=(2, 4, 8, 16))
RACE = racing.record(CELLS, lookups=30, seed=7)


def generator_of(seed):
    return torch.Generator().manual_seed(seed)


def by_hand(table, place, lookups, seed):
    """The steps of one of the four searches, whose seed is the `place`-th that the race spawns."""
    searching, measuring = runs.spawn(runs.spawn(seed, place + 1)[place], 2)
    noise, generator = generator_of(measuring), generator_of(searching)

    def evaluate(tokens):
        training = torch.randint(len(table.valid), (), generator=noise).item()
        return float(table.valid[training, table.row(tokens)]) / 100

    match NAMES[place]:
        case "random search":
            return random_search.search(table.space, evaluate, random_search.Config(lookups), generator)
        case "evolution":
            config = evolution.Config(lookups, population=10, sample=3)
            return evolution.search(table.space, evaluate, config, generator)
        case "Q-learning":
            part = lookups * 4 // 45
            schedule = ((lookups // 5, 1.0), *((part, e) for e in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)))
            config = qlearning.Config(lookups, schedule=schedule, lr=0.1)
            return qlearning.search(table.space, evaluate, config, generator)
        case "REINFORCE":
            with runs.seeded(searching):
                controller = Controller(table.space)
            config = reinforce.Config(4, children=8, lr=0.02, baseline_decay=0.9, entropy_weight=0.01)
            return reinforce.search(table.space, evaluate, controller, config, generator)


# The recording


@pytest.mark.parametrize(
    "table", [CELLS, MACRO, tables.cells(), tables.nas_bench_201()], ids=lambda t: f"{t.name}, {t.space.strings}"
)
def test_recording_equals_the_searches_run_by_hand(table):
    race = racing.record(table, lookups=30, seed=7)
    assert [*race.runs] == NAMES
    for place, run in enumerate(race.runs.values()):
        done = [*by_hand(table, place, 30, 7)]
        children = [child for step in done for child in step.children][:30]  # REINFORCE's fourth update is cut
        rewards = [reward for step in done for reward in step.rewards][:30]
        assert [*run.children] == children and run.measured.tolist() == [100 * r for r in rewards]
        for n in range(1, 31):
            seen = steps.Step(0, tuple(children[:n]), tuple(rewards[:n]))
            best, reward = steps.best([seen])
            assert run.children[run.leader[n - 1]] == best and run.measured[run.leader[n - 1]] == 100 * reward
            assert run.regret[n - 1] == table.regret(best)


def test_what_a_search_sees_is_one_training_and_the_regret_is_of_the_mean():
    for run in RACE.runs.values():
        for child, measured in zip(run.children, run.measured, strict=True):
            assert np.isclose(measured, CELLS.valid[:, CELLS.row(child)], rtol=0, atol=1e-9).any()
        assert (np.diff(run.measured[run.leader]) >= 0).all()  # what a search believes never falls
        assert (run.leader <= np.arange(30)).all() and (run.regret >= 0).all()
    drawn = {tuple(run.measured - [CELLS.accuracy(c) for c in run.children]) for run in RACE.runs.values()}
    assert len(drawn) == 4
    children = [c for run in RACE.runs.values() for c in run.children]
    measured = np.concatenate([run.measured for run in RACE.runs.values()])
    places = [np.abs(CELLS.valid[:, CELLS.row(c)] - m).argmin() for c, m in zip(children, measured, strict=True)]
    assert min(np.bincount(places, minlength=5)) > 10  # of 120 look-ups, 24 of each training are expected


def test_with_noise_a_believed_best_child_may_be_worse_and_without_noise_never():
    noisy = racing.record(table_of(CELLS.space, noise=3.0), lookups=60)
    assert any((np.diff(run.regret) > 0).any() for run in noisy.runs.values())
    exact = racing.record(table_of(CELLS.space, seeds=1), lookups=60)
    assert all((np.diff(run.regret) <= 0).all() for run in exact.runs.values())
    assert all((run.measured <= exact.table.accuracies.max() + 1e-9).all() for run in exact.runs.values())


def test_a_recording_depends_on_its_seed_alone():
    again, other = racing.record(CELLS, lookups=30, seed=7), racing.record(CELLS, lookups=30, seed=8)
    for name, run in RACE.runs.items():
        assert run.children == again.runs[name].children and (run.measured == again.runs[name].measured).all()
        assert run.children != other.runs[name].children
    assert view.race_picture(RACE) == view.race_picture(again) != view.race_picture(other)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    racing.record(CELLS, lookups=9)
    assert torch.equal(state, torch.get_rng_state())


def test_a_method_of_ones_own_races_and_changes_no_other_run():
    asked = []

    def first(space, evaluate, lookups, seed):
        asked.append((space, lookups))
        return (steps.Step(k, ((0, 0, 0),), (evaluate((0, 0, 0)),)) for k in range(10**9))  # the race stops it

    race = racing.record(CELLS, {**racing.METHODS, "always <zero> & one": first}, lookups=30, seed=7)
    assert asked == [(CELLS.space, 30)] and [*race.runs][:4] == NAMES
    assert all(race.runs[name].children == RACE.runs[name].children for name in NAMES)
    assert set(race.runs["always <zero> & one"].children) == {(0, 0, 0)}
    drawn = view.race_picture(race)
    assert "always <zero> & one" in texts(drawn) and "always &lt;zero&gt; &amp; one" in drawn.svg


def test_a_race_refuses_what_it_cannot_run():
    def early(space, evaluate, lookups, seed):
        return islice(racing.METHODS["evolution"](space, evaluate, lookups, seed), 4)

    for arguments, message in (
        ({"table": spaces.MacroSpace(2)}, "table: got MacroSpace, expected Table"),
        ({"methods": ["evolution"]}, "methods: got list, expected Mapping"),
        ({"methods": {}}, "methods: got 0, expected 1 to 6"),
        ({"methods": {str(k): early for k in range(7)}}, "methods: got 7, expected 1 to 6"),
        ({"methods": {"x" * 25: early}}, "expected 1 to 24 letters"),
        ({"methods": {1: early}}, "methods: got the name 1, expected 1 to 24 letters"),
        ({"methods": {"early": early}}, "methods: early stopped after 4 look-ups, expected 20"),
        ({"lookups": 0}, "lookups: got 0, expected an int of at least 1"),
        ({"lookups": 2.5}, "lookups: got 2.5"),
        ({"seed": -1}, "seed: got -1, expected an int of at least 0"),
    ):
        wanted = {"table": CELLS, "lookups": 20} | arguments
        with pytest.raises(ValueError, match=re.escape(message)):
            view.search_race(wanted.pop("table"), **wanted)
        wanted = {"table": CELLS, "lookups": 20} | arguments
        with pytest.raises(ValueError, match=re.escape(message)):
            racing.record(**wanted)
    for at in (0, 31, 1.5, True):
        with pytest.raises(ValueError, match=r"at: got .*, expected an int of at least 1"):
            view.race_picture(RACE, at)
    with pytest.raises(ValueError, match=re.escape("shown: got 'x', expected names of random search, evolution")):
        view.race_picture(RACE, shown=["x"])


# The picture


def heights(drawn, color):
    """The curve of that colour, not the short lines of labels and cards: its points from left to right."""
    lines = [e for e in ET.fromstring(drawn.svg).iter(f"{SVG}polyline") if e.get("stroke") == color]
    (curve,) = [e for e in lines if e.get("stroke-width") == "2.2" and not e.get("points").startswith("12,20")]
    return [tuple(map(float, point.split(","))) for point in curve.get("points").split()]


def test_a_curve_stands_at_the_regret_of_every_look_up():
    """Read from the drawing: where one regret is larger than another, the curve is higher, and only there."""
    last = heights(view.race_picture(RACE), ORDER[0][0])[-1][0]
    places = np.linspace(50, last, 30)
    for at in (1, 2, 9, 30):
        for (color, *_), run in zip(ORDER, RACE.runs.values(), strict=False):
            curve = heights(view.race_picture(RACE, at), color)
            assert curve[0][0] == 50 and abs(curve[-1][0] - places[at - 1]) < 0.06
            assert all(x0 == x1 or y0 == y1 for (x0, y0), (x1, y1) in pairwise(curve))  # it moves in steps
            read = [[y for x, y in curve if x < place + 0.06][-1] for place in places[:at]]
            higher = np.sign(np.subtract.outer(run.regret[:at], run.regret[:at]))
            assert (np.sign(-np.subtract.outer(read, read)) == higher).all()


def test_ticks_and_curves_share_their_scale():
    space = CELLS.space
    valid = np.full((1, 125), 90.0)
    valid[0, :3] = (89.9, 89.0, 80.0)  # regrets that are ticks
    table = Table("t", space, valid, np.ones(125), np.ones(125))

    def climb(space, evaluate, lookups, seed):
        children = [(0, 0, 2), (0, 0, 1), (0, 0, 0), (0, 0, 3)]
        return (steps.Step(k, (c,), (evaluate(c),)) for k, c in enumerate(children))

    drawn = view.race_picture(racing.record(table, {"climb": climb}, lookups=4))
    root = ET.fromstring(drawn.svg)
    named = {e.text: float(e.get("y")) - 0.35 * 12 for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "end"}
    assert [*named] == ["0", "0.1", "0.3", "1", "3", "10"]
    lines = [e.get("points").split(" ") for e in root.iter(f"{SVG}polyline") if e.get("stroke-width") == "1"]
    ticks = [float(line[0].split(",")[1]) for line in lines if line[0].startswith("50,")][:6]
    assert ticks == pytest.approx([*named.values()], abs=0.01)
    read = sorted({y for _, y in heights(drawn, ORDER[0][0])}, reverse=True)
    assert read == pytest.approx([named[t] for t in ("0", "0.1", "1", "10")], abs=0.06)
    assert min(a - b for a, b in pairwise(read)) > 50  # a tenth of a point can be seen beside ten points
    labels = texts(drawn)
    assert "climb 0.00" in labels


@given(st.lists(st.floats(58, 440), min_size=1, max_size=6))
def test_labels_stand_apart_in_the_order_of_their_curves(tips):
    placed = scoreboard._apart({str(k): y for k, y in enumerate(tips)}, 58, 383)
    ys = sorted(placed.values())
    assert all(b - a > 15 - 1e-9 for a, b in pairwise(ys)) and ys[0] >= 58 and ys[-1] <= 383
    for k, y in enumerate(tips):
        assert all(placed[str(k)] < placed[str(j)] for j, other in enumerate(tips) if y < other)
    assert len(tips) > 1 or ys == [min(tips[0], 383)]


def test_cards_say_what_the_table_knows():
    for at in (1, 12, 30):
        drawn = view.race_picture(RACE, at)
        for name, run in RACE.runs.items():
            k = max(range(at), key=lambda n: (run.measured[n], -n))
            child = run.children[k]
            line = f"rank {CELLS.rank(child)} of 125"
            assert line in texts(drawn) and f"first seen at look-up {k + 1}" in texts(drawn)
            assert f"measured {run.measured[k]:.1f} %, mean {CELLS.accuracy(child):.1f} %" in texts(drawn)
            ops = ", ".join(
                f"{edge} {CELLS.space.ops[token]}" for edge, token in zip(("0→1", "0→2", "1→2"), child, strict=True)
            )
            assert f"{name}: {line}; measured" in drawn.alt and f"Cell: {ops}." in drawn.alt
    best = min(RACE.runs, key=lambda name: RACE.runs[name].regret[-1])
    assert f"regret after 30 of 30 look-ups, in percentage points, best first: {best}" in drawn.alt


def test_a_card_draws_every_edge_but_none():
    space = spaces.nas_bench_201()
    for tokens in ((0, 1, 2, 3, 4, 3), (0,) * 6, (3,) * 6):
        drawn = scoreboard.card(1, "evolution", ["a line"], space, tokens)
        paths = [e for e in ET.fromstring(drawn.svg).iter(f"{SVG}path") if "Q" in e.get("d")]
        assert len(paths) == sum(t != 0 for t in tokens)
        assert [t for t in texts(drawn) if t in space.ops] == [space.ops[t] for t in tokens]


@pytest.mark.parametrize(
    "space",
    [MACRO.space, CONV, spaces.CellSpace(("a", "b"), 2, 1, ("x", "skip_connect"), None)],
    ids=["macro", "conv", "two cells"],
)
def test_a_card_of_another_space_holds_its_drawing(space):
    first, second = space.sample(generator_of(0)), space.sample(generator_of(5))
    drawn, other = (scoreboard.card(0, "x", ["a line"], space, tokens) for tokens in (first, second))
    whole = view.architecture(space, first)
    assert set(texts(whole)) <= set(texts(drawn)) and whole.alt in drawn.alt
    size = [ET.fromstring(p.svg).get("viewBox") for p in (drawn, other)]
    assert size[0] == size[1]


def test_a_race_in_the_convolutional_space():
    race = racing.record(table_of(CONV, seeds=3), lookups=24)
    assert texts(view.race_picture(race))[0] == "One race on a table, seed 0"
    assert "of 8,192" in view.race_picture(race).alt


@pytest.mark.parametrize("lookups", [1, 2])
def test_the_shortest_races_are_drawn(lookups):
    drawn = view.search_race(CELLS, lookups=lookups).picture
    assert "nan" not in drawn.svg and f"{lookups} of {lookups} look-ups" in drawn.alt


def test_a_table_of_equals_is_drawn():
    table = Table("flat", CELLS.space, np.full((1, 125), 50.0), np.ones(125), np.ones(125))
    drawn = view.race_picture(racing.record(table, lookups=9))
    assert "nan" not in drawn.svg and texts(drawn).count("0.1") == 1


# The widget


@pytest.fixture
def race():
    return view.search_race(CELLS, lookups=30, seed=7)


def test_race_shows_the_end_and_follows_the_slider(race):
    assert race.at == 30
    seen = set()
    for at in (1, 2, 15, 29, 30):
        race.slider.value = at
        assert race.picture == view.race_picture(RACE, at) and f"<code>{at} of 30, seed 7</code>" in race.text
        assert plain(race) == drawings(RACE, at, NAMES)
        best = min(RACE.runs, key=lambda name: RACE.runs[name].regret[at - 1])
        assert f"best first:</b> <code>{best} {RACE.runs[best].regret[at - 1]:.2f}, " in race.text
        seen.add(race.drawing)
    assert len(seen) == 5
    race.at = 4
    assert race.slider.value == 4
    for bad in (0, 31, "1"):
        with pytest.raises(ValueError, match="at: got"):
            race.at = bad


def drawings(race, at, shown):
    cards = (racing.card(race, name, at).svg for name in NAMES if name in shown)
    return "".join([racing.curves(race, at, shown).svg, *cards])


def test_play_moves_the_slider_over_all_look_ups(race):
    assert race._link.source == (race.play, "value") and race._link.target == (race.slider, "value")
    assert (race.play.min, race.play.max, race.play.step) == (race.slider.min, race.slider.max, 1) == (1, 30, 1)
    assert any(race.play in getattr(child, "children", ()) for child in race.children)


def test_a_checkbox_removes_a_method_and_brings_it_back(race):
    assert [box.description for box in race.shown.values()] == NAMES
    before = race.drawing
    for (color, *_), (name, box) in zip(ORDER, race.shown.items(), strict=False):
        box.value = False
        assert f'stroke="{color}" stroke-width="2.2"' not in race.drawing and f"{name} " not in race.text
        left = [n for n in NAMES if n != name]
        assert race.picture == view.race_picture(RACE, shown=left) and plain(race) == drawings(RACE, 30, left)
        box.value = True
        assert race.drawing == before


def test_no_method_is_a_message(race):
    for box in race.shown.values():
        box.value = False
    assert "no method is chosen" in race.text and "choose at least one" in race.text
    assert "Choose a method above." in texts(race.picture) and race.picture.alt.endswith("no method is chosen.")
    assert "image/svg+xml" in race._repr_mimebundle_()[0]
    race.dice.click()
    race.shown["evolution"].value = True
    assert "evolution" in race.text


def test_the_dice_rolls_another_seed_and_shows_it(race):
    seeds, pictures = [7], [race.drawing]
    for _ in range(4):
        race.dice.click()
        seeds.append(race.seed.value)
        pictures.append(race.drawing)
        assert f"seed {seeds[-1]}</code>" in race.text and race.at == 30
        assert race.picture == view.race_picture(racing.record(CELLS, lookups=30, seed=seeds[-1]))
    assert len(set(seeds)) == len(set(pictures)) == 5
    race.seed.value = 7
    assert race.drawing == pictures[0]
    again = view.search_race(CELLS, lookups=30, seed=7)
    again.dice.click()
    assert again.seed.value == seeds[1] and again.drawing == pictures[1]


def test_race_says_the_mean_over_the_races_at_the_end_only(race):
    assert "mean over" not in race.text
    race.dice.click()
    other = racing.record(CELLS, lookups=30, seed=race.seed.value)
    means = {name: (RACE.runs[name].regret[-1] + other.runs[name].regret[-1]) / 2 for name in NAMES}
    listed = ", ".join(f"{name} {means[name]:.2f}" for name in sorted(means, key=means.get))
    assert f"<b>mean over the 2 races so far:</b> <code>{listed}</code>" in race.text
    race.at = 29
    assert "mean over" not in race.text


def test_each_seed_is_recorded_once(monkeypatch):
    recorded = []
    monkeypatch.setattr(view.widgets.race, "record", lambda *a: recorded.append(a[3]) or racing.record(*a))
    race = view.search_race(MACRO, lookups=12, seed=1)
    for seed in (1, 2, 1, 2):
        race.seed.value = seed
        for at in range(1, 13):
            race.at = at
    assert recorded == [1, 2]


def test_race_escapes_the_name_of_a_table():
    race = view.search_race(table_of(CELLS.space, name="<i>a & b</i>"), lookups=9)
    assert "<i>" not in race.drawing + race.text and texts(race.picture)[0] == "One race on <i>a & b</i>, seed 0"
    data, _ = race._repr_mimebundle_()
    assert repr(race) == "search race: random search, evolution, Q-learning, REINFORCE; 9 look-ups of <i>a & b</i>"
    assert data["text/plain"] == repr(race) and data["image/svg+xml"] == race.picture.svg
    assert data["text/markdown"].startswith('<img alt="One race on &lt;i&gt;a &amp; b&lt;/i&gt;, seed 0: regret')
