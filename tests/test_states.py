"""A step of the right form with wrong content, such as a checkpoint that somebody else wrote: only `ValueError`."""

import math
import os
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from naslab import spaces
from naslab.controller import Controller
from naslab.runs import save, seeded
from naslab.search import evolution, qlearning, random_search, reinforce
from naslab.states import restore, snapshot
from naslab.steps import resume, state_of

SPACE = spaces.MacroSpace(2, ("a", "b"))  # three decisions of two options


def ones(tokens):
    return sum(tokens) / 3


def search(name, after=None, updates=6):
    """The steps of a small search; the state of each is copied while it can be read."""
    generator = torch.Generator().manual_seed(5)
    if name == "random_search":
        steps = random_search.search(SPACE, ones, random_search.Config(updates, 2), generator, after)
    elif name == "evolution":
        steps = evolution.search(SPACE, ones, evolution.Config(updates, 3, 2), generator, after)
    elif name == "qlearning":
        config = qlearning.Config(updates, 2, schedule=((3, 1.0), (9, 0.2)), replay=3)
        steps = qlearning.search(SPACE, ones, config, generator, after)
    else:
        with seeded(0):
            controller = Controller(SPACE, 3, 1)
        config = reinforce.Config(updates, 2, lr=0.01, **({"grow_every": 4} if name == "growing" else {}))
        steps = reinforce.search(SPACE, ones, controller, config, generator, after)
    return [replace(step, state=state_of(step)) for step in steps]


NAMES = ("random_search", "evolution", "qlearning", "reinforce", "growing")
GOOD = {name: search(name, updates=5)[-1] for name in NAMES}


def changed(step, place, value):
    """The step with the value in a place: a field, or a path into the state."""
    field, *path = place
    if not path:
        return replace(step, **{field: value})
    state = inner = snapshot(step.state)
    for key in path[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return replace(step, state=state)


MISSING = object()
BYTES = torch.Generator().get_state()

FIELDS = [
    *((("index",), value) for value in ("4", None, 2.0, -5, True, 2**63, torch.tensor(4))),
    *((("children",), value) for value in (None, 3, "001", [(0, 0, 0), (0, 0, 0)], ((0, 0, 0), None))),
    *((("children",), ((0, 0, 0), child)) for child in ((0, 0, 7), (0, 0, -1), (0, 0), (0, 0, 0.0), (0, 0, True))),
    *((("children",), ((0, 0, 0), child)) for child in ([0, 0, 0], "000", ("0", 0, 0), (0, 0, None))),
    *((("rewards",), value) for value in (None, 0.5, "x", (0.5,), (0.5,) * 3, [0.5, 0.5], {})),
    *((("rewards",), (0.5, value)) for value in (math.nan, math.inf, None, "1", True, 10**400)),
    *((("info",), value) for value in (None, [], {1: 2.0}, {"a": None}, {"a": math.nan}, {"a": "b"})),
    *((("failures",), value) for value in (None, [], {0: 1}, {"0": "x"}, {2: "x"}, {-1: "x"}, {0.0: "x"})),
    *((("state",), value) for value in (None, [], 3, "x", torch.zeros(2))),
]
STATES = [
    *((("state", "search"), value) for value in (MISSING, None, 3, "other", torch.zeros(2))),
    *((("state", "space"), value) for value in (MISSING, None, "MacroSpace()", [1])),
    *((("state", "generator"), value) for value in (MISSING, None, "x", 3, BYTES[:-1], BYTES[:0], BYTES.float())),
    *((("state", "generator"), value) for value in (torch.zeros_like(BYTES), torch.full_like(BYTES, 255), [1, 2])),
]
OWN = {
    "random_search": [],
    "evolution": [
        *((("state", "population"), value) for value in (MISSING, None, 3, [], ["a", "b", "c"], [1, 2, 3], "abc", {})),
        *((("state", "population"), [((0, 0, 0), 0.5)] * n) for n in (1, 2, 4)),
        *((("state", "population", 1), m) for m in (((0, 0, 9), 0.5), ((0, 0), 0.5), ((0, 0, 0),), [(0, 0, 0), 0.5])),
        *((("state", "population", 1), ((0, 0, 0), r)) for r in (math.nan, -math.inf, None, "1", True)),
    ],
    "qlearning": [
        *(
            (("state", "memory"), value)
            for value in (MISSING, None, 3, "abc", ["a"], [((0, 0, 9), 0.5)], [((0, 0, 0),)])
        ),
        *((("state", "memory", 1), ((0, 0, 0), r)) for r in (math.nan, None, "1")),
        (("state", "memory"), []),
        *((("state", "q"), value) for value in (MISSING, None, [], {}, {(0, 0): [0.5, 0.5]})),
        *(
            (("state", "q", (0, 0)), value)
            for value in (MISSING, None, [0.5], [0.5] * 3, (0.5, 0.5), "ab", [0.5, None])
        ),
        *((("state", "q", (0, 0)), [0.5, value]) for value in (math.nan, math.inf, "1", True)),
        *((("state", "q", key), [0.5, 0.5]) for key in ((9, 9), "x")),
    ],
}
_adam = [
    *((("state", "baseline"), value) for value in (MISSING, None, math.nan, "1")),
    *((("state", "controller"), value) for value in (MISSING, None, [], {}, "x")),
    *((("state", "controller", "start"), v) for v in (MISSING, None, 1.0, torch.zeros(4), torch.zeros(3).double())),
    *((("state", "controller", "start"), torch.tensor([0.0, 0.0, value])) for value in (math.nan, math.inf)),
    (("state", "controller", "more"), torch.zeros(3)),
    *((("state", "optim"), value) for value in (MISSING, None, [], {}, "x", {"state": []})),
    *((("state", "optim", "state"), value) for value in (None, {99: {}}, {-1: {}}, {"x": {}}, {0: None}, {0: {}})),
    *((("state", "optim", "state", 0, "exp_avg"), v) for v in (MISSING, None, torch.zeros(4), torch.zeros(3).half())),
    *((("state", "optim", "state", 0, "exp_avg_sq"), torch.full((3,), value)) for value in (math.nan, math.inf)),
    *((("state", "optim", "state", 0, "step"), value) for value in (None, 3, torch.zeros(3), torch.tensor(math.nan))),
]
OWN["reinforce"] = OWN["growing"] = _adam


@pytest.mark.parametrize("name", NAMES)
def test_every_wrong_value_is_a_value_error_that_names_it(name):
    fields = FIELDS if len(GOOD[name].children) == 2 else []  # written for two children
    for place, value in fields + STATES + OWN[name]:
        step = changed(GOOD[name], place, value)
        with pytest.raises(ValueError) as error:
            search(name, step)
        assert place[min(1, len(place) - 1)] in str(error.value), (place, value, error.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_step_itself_goes_on(name):
    (found,), wanted = search(name, GOOD[name]), search(name)[-1]
    assert (found.index, found.children, found.rewards, found.info) == (5, wanted.children, wanted.rewards, wanted.info)


@pytest.mark.parametrize(("place", "value"), [case for case in FIELDS if case[0] != ("state",)])
def test_a_wrong_field_is_seen_when_the_file_is_read(place, value, tmp_path):
    save(tmp_path / "s.pt", vars(changed(GOOD["random_search"], place, value)))
    if place == ("children",) and isinstance(value, tuple) and value[1] in ((0, 0, 7), (0, 0)):
        resume(tmp_path / "s.pt")  # whether the space has them is seen when the search goes on
        return
    with pytest.raises(ValueError, match=rf"s\.pt: {place[0]}.*: got"):
        resume(tmp_path / "s.pt")


def test_a_refused_state_changes_nothing():
    """Neither the generator, nor the first of two learners where the second does not fit."""
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    config = random_search.Config(6, 2)
    with pytest.raises(ValueError, match="children"):
        step = changed(GOOD["random_search"], ("children",), ((0, 0, 7),) * 2)
        list(random_search.search(SPACE, ones, config, generator, step))
    assert torch.equal(generator.get_state(), before)

    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    kept = snapshot(first.state_dict())
    good = {name: torch.ones_like(p) for name, p in kept.items()}
    with pytest.raises(ValueError, match=r"state\.b\.bias: got torch.float32 of \(3,\), expected .* of \(2,\)"):
        restore({"a": first, "b": second}, {"a": good, "b": {**good, "bias": torch.ones(3)}})
    assert all(torch.equal(p, kept[name]) for name, p in first.state_dict().items())


@pytest.mark.parametrize("make", [torch.optim.Adam, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)])
def test_an_optimiser_gets_its_moments_and_keeps_its_own_learning_rate(make):
    w = nn.Parameter(torch.ones(3))
    first, second = make([w], 0.1), make([w], 0.7)
    w.sum().backward()
    first.step()
    restore({"w": second}, {"w": snapshot(first.state_dict())})
    assert second.param_groups[0]["lr"] == 0.7
    (mine,), (yours,) = first.state.values(), second.state.values()
    assert mine.keys() == yours.keys() and all(torch.equal(mine[k], yours[k]) for k in mine)
    second.step()
    assert not all(torch.equal(mine[k], yours[k]) for k in mine)  # copied, not shared


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([torch.zeros(3), BYTES, torch.tensor(0.5), torch.ones(2, dtype=torch.int64)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers(0, 2) | st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(name=st.sampled_from(NAMES), data=st.data())
@settings(max_examples=int(os.environ.get("NASLAB_FUZZ", "200")))
def test_junk_anywhere_is_a_value_error_or_goes_on(name, data):
    """One place of a step, at any depth, holds anything: the search refuses it, or ends in numbers."""
    step, place = (
        GOOD[name],
        [data.draw(st.sampled_from(["index", "children", "rewards", "info", "failures", "state"]))],
    )
    inner = step.state if place == ["state"] else None
    while isinstance(inner, dict) and inner and data.draw(st.booleans()):
        place.append(data.draw(st.sampled_from([*inner])))
        inner = inner[place[-1]]
    try:
        steps = search(name, changed(step, place, data.draw(JUNK)))
    except ValueError:
        return
    assert all(math.isfinite(r) for s in steps for r in s.rewards)
